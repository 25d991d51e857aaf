"""Block sizes of the optimizer steps: `adam_`, `sgd_` and `rmsprop_` are bound by the same memory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepConfiguration:
    """BLOCK elements of one tensor for each program."""

    BLOCK: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why the kernel would be slow or wrong with it."""
        elements = self.BLOCK // (32 * self.num_warps)
        if self.BLOCK & (self.BLOCK - 1):
            return f"BLOCK must be a power of two, and {self.BLOCK} is not"
        if not 8 <= elements <= 16:
            return (
                f"{elements} elements a thread: below 8 a half-precision access is no 16 bytes, above 16 values spill"
            )
        return None


SHIPPED = (StepConfiguration(2048, 4), StepConfiguration(1024, 4))


def choose_configuration(params: list[Tensor], processors: int) -> StepConfiguration:
    """The large blocks, where they make four programs for each multiprocessor; below it small ones share the work."""
    large, small = SHIPPED
    return large if sum(param.numel() for param in params) >= 4 * processors * large.BLOCK else small
