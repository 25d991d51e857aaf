"""How the streaming kernels over images, channels last, are cut into programs: pools, forward and backward."""

from __future__ import annotations

import functools
from dataclasses import dataclass

_THREADS = 128


@dataclass(frozen=True)
class PoolConfiguration:
    """BLOCK_P pixels times BLOCK_C channels a program, by num_warps warps."""

    BLOCK_P: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: a thread must have one 128-bit access of the image and a whole part of places.

        More elements a thread than that, and the bytes of the places are laid out for wider accesses than the floats:
        Triton then takes the floats through shared memory, with a barrier a tap.
        """
        share = self.BLOCK_P * self.BLOCK_C // (32 * self.num_warps)
        return None if share in (4, 8) else f"a thread would have {share} elements, not 4 (32 bits) or 8 (16 bits)"


# With fewer than 8 channels nothing is wide, and 8 elements a thread of a half type spill on sm_80 (3x3 windows).
_HALF = tuple(
    PoolConfiguration(_THREADS * share // channels, channels, _THREADS // 32)
    for channels, share in ((128, 8), (64, 8), (32, 8), (16, 8), (8, 8), (4, 4), (1, 4))
)
_WIDE = tuple(
    PoolConfiguration(_THREADS * 4 // channels, channels, _THREADS // 32) for channels in (128, 64, 32, 16, 8, 4, 1)
)
SHIPPED = tuple(dict.fromkeys((*_HALF, *_WIDE)))


@functools.lru_cache(maxsize=1024)
def choose_configuration(channels: int, itemsize: int) -> PoolConfiguration:
    """The block of channels that leaves fewest lanes idle, where less than a 32-byte sector counts as one.

    itemsize: bytes of an element.

    >>> [choose_configuration(channels, 2).BLOCK_C for channels in (1000, 256, 96, 64, 40, 10, 3)]
    [128, 128, 32, 64, 16, 16, 4]
    """

    def cost(configuration: PoolConfiguration) -> tuple[int, int, int]:
        block = configuration.BLOCK_C
        programs = -(-channels // block)
        # What a program does for each pixel, whatever its channels, is worth 4 lanes.
        return programs * (max(block, 16) + 4), programs * block, -block

    return min(_HALF if itemsize == 2 else _WIDE, key=cost)


def vector(channels: int) -> int:
    """The largest power of two up to 16 that divides `channels`: what the compiler is told of addresses.

    >>> vector(1000), vector(64), vector(3)
    (8, 16, 1)
    """
    return min(16, channels & -channels)
