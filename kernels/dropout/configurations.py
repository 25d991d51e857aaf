"""How dropout's streaming kernel is cut into programs."""

from __future__ import annotations

from dataclasses import dataclass

from fastk.kernels import triton_runtime


@dataclass(frozen=True)
class DropoutConfiguration:
    """BLOCK elements a program, by num_warps warps."""

    BLOCK: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: each thread must have whole groups of 8 elements, and few enough registers."""
        share = self.BLOCK // (32 * self.num_warps)
        return None if share in (8, 16, 32) else f"a thread would have {share} elements, not 8, 16 or 32"


# 16 elements a thread keep two to four 128-bit loads in flight; 8 fill the device sooner.
SHIPPED = (DropoutConfiguration(2048, 4), DropoutConfiguration(1024, 4))


def choose_configuration(size: int) -> DropoutConfiguration:
    """The larger block where it still makes two waves of 8 programs on every multiprocessor."""
    large, small = SHIPPED
    return large if size >= 16 * triton_runtime.sm_count() * large.BLOCK else small
