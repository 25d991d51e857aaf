"""Tiles of the convolution kernels, which of them are shipped, and which one a call takes.

A program computes BLOCK_M x BLOCK_N of the product and steps through K by BLOCK_K. Every tile below was compiled for
sm_80, sm_90 and sm_100 without spills and with wgmma that are not serialised; what fails is named where it would be
expected: 128 x 128 on 4 warps spills on sm_80 (80 bytes), tf32x3 on 128 x 128 too (504 bytes).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

SHARED_MEMORY = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes a program can have


@dataclass(frozen=True)
class TileConfiguration:
    """block_m x block_n of the result, block_k of the reduction; num_stages blocks of K are in flight."""

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int

    def why_invalid(self, itemsize: int, architecture: int) -> str | None:
        """None, or why it cannot run on operands of `itemsize` bytes."""
        sizes = (self.block_m, self.block_n, self.block_k, self.num_warps)
        if any(size & (size - 1) or size < 1 for size in sizes) or min(sizes[:3]) < 16:
            return f"blocks must be powers of two of at least 16, warps a power of two: {self}"
        accumulators = self.block_m * self.block_n // (32 * self.num_warps)
        if accumulators > 128:
            return f"{accumulators} accumulators a thread leave no registers for addresses; at most 128"
        needed = self.num_stages * (self.block_m + self.block_n) * self.block_k * itemsize
        if needed > SHARED_MEMORY[architecture]:
            return (
                f"{needed} bytes of shared memory are more than the {SHARED_MEMORY[architecture]} of sm_{architecture}"
            )
        return None


T = TileConfiguration
# By kind of arithmetic, from the largest tile to the smallest.
SHIPPED = {
    "half": (
        T(128, 256, 64, 8, 3),
        T(128, 128, 64, 8, 3),
        T(128, 64, 64, 4, 4),
        T(64, 64, 64, 4, 4),
        T(128, 32, 64, 4, 4),
        T(128, 64, 32, 4, 4),
        T(128, 32, 32, 4, 4),
    ),
    "tf32": (T(128, 128, 32, 8, 3), T(128, 64, 32, 8, 3), T(64, 64, 32, 4, 3), T(128, 32, 32, 4, 3)),
    "tf32x3": (T(128, 64, 32, 8, 3), T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "ieee": (T(128, 64, 16, 8, 2), T(64, 64, 16, 4, 2), T(64, 32, 16, 4, 2)),
}
# For the gradient by the kernel. 128 x 128 takes 4 warps on sm_90: on 8, ptxas serialises the wgmma (C7515).
SHIPPED_GRADIENT = {
    "half": (T(128, 128, 64, 4, 3), T(128, 64, 64, 4, 3), T(64, 64, 64, 4, 4), T(64, 32, 64, 4, 4)),
    "tf32": (T(128, 128, 32, 8, 3), T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "tf32x3": (T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "ieee": (T(64, 64, 16, 4, 2), T(64, 32, 16, 4, 2)),
}
SHIPPED_GRADIENT_80 = SHIPPED_GRADIENT | {
    "half": (T(128, 128, 64, 8, 3), *SHIPPED_GRADIENT["half"][1:]),
}


def kind_of(dtype: torch.dtype, precision: str) -> str:
    """The key of `SHIPPED`: "half" for 16-bit types, else how float32 is multiplied (float64 as "ieee")."""
    return "half" if dtype.itemsize == 2 else precision


def shipped_gradient(kind: str, architecture: int) -> tuple[TileConfiguration, ...]:
    """The tiles of the gradient by the kernel."""
    return (SHIPPED_GRADIENT_80 if architecture < 90 else SHIPPED_GRADIENT)[kind]


@functools.cache
def choose_configuration(
    M: int, N: int, K: int, copies: int, packable: bool, kind: str, sm_count: int
) -> TileConfiguration:
    """The largest tile that N fills and that leaves a tile for every SM, else the one with the most tiles.

    Args:
        M: pixels.
        N: output channels of a group.
        K: input channels of a group.
        copies: how often the grid holds such a product (groups x phases).
        packable: whether the loop can go over all columns of a patch at once, so that BLOCK_K need not divide K.
        kind: of `kind_of`.
        sm_count: of the device.
    """
    width = max(32, min(256, 1 << (N - 1).bit_length()))
    depth = 64 if packable or K % 64 == 0 or K % 64 > 32 else 32
    fitting = [t for t in SHIPPED[kind] if t.block_n <= width and t.block_k <= depth]
    fitting = [t for t in fitting if t.block_k == fitting[0].block_k] if kind == "half" else fitting
    filling = [t for t in fitting if _tiles(t, M, N) * copies >= sm_count]
    return filling[0] if filling else max(fitting, key=lambda t: _tiles(t, M, N))


@functools.cache
def choose_gradient_configuration(M: int, N: int, kind: str, architecture: int) -> TileConfiguration:
    """The largest tile that the patch (M = R S C) and the filters (N) of a group fill: K makes up for the rest."""
    width, height = max(32, 1 << (N - 1).bit_length()), max(64, 1 << (M - 1).bit_length())
    tiles = shipped_gradient(kind, architecture)
    return next((t for t in tiles if t.block_n <= width and t.block_m <= height), tiles[-1])


@functools.cache
def splits_of(tiles: int, blocks: int, sm_count: int) -> tuple[int, int]:
    """(programs a tile, blocks of K each): two programs for each SM, but not less than 8 blocks each.

    A split costs a write and a read of its partial sum: with fewer blocks than that these outweigh the product.
    """
    splits = max(1, min(2 * sm_count // tiles, blocks // 8))
    steps = math.ceil(blocks / splits)
    return math.ceil(blocks / steps), steps


def _tiles(t: TileConfiguration, M: int, N: int) -> int:
    return math.ceil(M / t.block_m) * math.ceil(N / t.block_n)
