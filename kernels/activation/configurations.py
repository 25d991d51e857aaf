"""Launch configurations of elementwise kernels over flat tensors.

A program takes `block` units of `UNIT` elements. Where the size allows, a unit is 8 elements: a mask over units is the
same for 8 neighbours, so that accesses are 128 bits wide whatever else the size is divisible by.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT = 8


@dataclass(frozen=True)
class ElementwiseConfiguration:
    """block: elements a program; num_warps: warps a program."""

    block: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or what is wrong with it."""
        if self.block & (self.block - 1) or self.block < UNIT:
            return f"block must be a power of two of at least {UNIT}, and is {self.block}"
        if self.block > 64 * 32 * self.num_warps:
            return f"{self.block} elements on {self.num_warps} warps are more than 64 a thread"
        return None


SHIPPED = (ElementwiseConfiguration(512, 2), ElementwiseConfiguration(2048, 4))


def choose_configuration(numel: int, sm_count: int) -> ElementwiseConfiguration:
    """16 elements a thread (two 128-bit loads in flight in 16-bit types) once that still fills every SM twice."""
    return SHIPPED[1] if numel >= 2 * sm_count * SHIPPED[1].block else SHIPPED[0]


def unit(numel: int) -> int:
    """Elements a unit: `UNIT`, or 1 where it does not divide the size."""
    return 1 if numel % UNIT else UNIT
