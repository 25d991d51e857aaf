"""Tiles of the matrix products of dense, which of them are shipped, and which one a call takes.

A program makes block_m x block_n of the product and steps through K by block_k. Every tile below is compiled for the
architectures it is shipped for; the gates of `python -m fastk.kernels report` say what it needs there.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

SHARED_MEMORY = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes a program can have
GROUP_M = 8  # rows of tiles that are made at the same time, and share columns of B in L2


@dataclass(frozen=True)
class GemmConfiguration:
    """block_m x block_n of the product, block_k of the reduction; num_stages blocks of K are in flight.

    descriptors: read and stored through TMA, by as many programs as run at once; else through pointers.
    parts: how many pieces, side by side, the epilogue takes a tile in: each needs registers only while it is made.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    descriptors: bool = False
    parts: int = 1

    def why_invalid(self, itemsize: int, architecture: int) -> str | None:
        """None, or why it cannot run on operands of `itemsize` bytes."""
        sizes = (self.block_m, self.block_n, self.block_k, self.num_warps, self.parts)
        if any(size & (size - 1) or size < 1 for size in sizes) or min(sizes[:3]) < 16:
            return f"blocks must be powers of two of at least 16, warps and parts powers of two: {self}"
        if self.block_m * self.block_n > 128 * 32 * self.num_warps:
            return f"more than 128 accumulators a thread leave no registers for addresses: {self}"
        if self.descriptors and architecture < 90:
            return f"sm_{architecture} has no TMA"
        needed = self.num_stages * (self.block_m + self.block_n) * self.block_k * itemsize
        if self.descriptors:  # what is stored is staged beside the next tile's operands
            needed += self.block_m * self.block_n // self.parts * itemsize
        if needed > SHARED_MEMORY[architecture]:
            return f"{needed} bytes of shared memory are more than the {SHARED_MEMORY[architecture]} there are"
        return None

    def __str__(self):
        how = f" tma/{self.parts}" if self.descriptors else ""
        return f"{self.block_m}x{self.block_n}x{self.block_k} w{self.num_warps} s{self.num_stages}{how}"


G = GemmConfiguration
# By kind of arithmetic, from the largest tile to the smallest.
_POINTERS = {
    "half": (G(128, 64, 64, 8, 4), G(64, 64, 64, 4, 4), G(64, 32, 64, 4, 4)),
    "tf32": (G(128, 64, 32, 8, 3), G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "tf32x3": (G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "ieee": (G(64, 64, 16, 4, 2), G(64, 32, 16, 4, 2)),
}
_WITHOUT_TMA = G(128, 128, 64, 8, 3)  # on sm_90 ptxas serialises its wgmma (C7515); on 4 warps dropout spills 64 bytes
_DESCRIPTORS = {
    "half": (G(128, 256, 64, 8, 3, True, 4), G(128, 128, 64, 8, 4, True, 2)),
    "tf32": (G(128, 256, 32, 8, 3, True, 4), G(128, 128, 32, 8, 4, True, 2)),
    "tf32x3": (G(128, 128, 32, 8, 3, True, 2),),  # 184 to 204 registers already: both operands are there in two parts
    "ieee": (),
}
ARCHITECTURES = (80, 90, 100)


@functools.cache
def shipped(kind: str, architecture: int) -> tuple[G, ...]:
    """The tiles for a kind of arithmetic, largest first."""
    larger = _DESCRIPTORS[kind] if architecture >= 90 else (_WITHOUT_TMA,) if kind == "half" else ()
    return larger + _POINTERS[kind]


def kind_of(dtype: torch.dtype, precision: str) -> str:
    """The kind of arithmetic: "half" for 16-bit types, else how float32 is multiplied (float64 as "ieee")."""
    return "half" if dtype.itemsize == 2 else precision


@functools.cache
def choose_configuration(M: int, N: int, kind: str, aligned: bool, architecture: int, sm_count: int) -> G:
    """The largest tile that is no wider than the product and leaves one for every SM, else the smallest that fits.

    Args:
        M: rows of the product.
        N: its columns.
        kind: of `kind_of`.
        aligned: whether all three matrices can be described to TMA.
        architecture: 10 major + minor of the compute capability.
        sm_count: of the device.
    """
    width = max(32, 1 << (N - 1).bit_length())  # a tile wider than the product multiplies nothing but zeros
    fitting = [t for t in shipped(kind, architecture) if t.block_n <= width and (aligned or not t.descriptors)]
    filling = [tile for tile in fitting if tiles(tile, M, N) >= sm_count]
    return filling[0] if filling else max(fitting, key=lambda tile: (tiles(tile, M, N), -tile.block_m * tile.block_n))


@functools.cache
def splits_of(count: int, blocks: int, sm_count: int) -> int:
    """Into how many parts K is split: two programs for each SM, but not less than 8 blocks of K each.

    A split costs a write and a read of its partial product: with fewer blocks than that these outweigh the products.
    """
    splits = min(2 * sm_count // count, blocks // 8)
    return 1 if splits <= 1 else math.ceil(blocks / math.ceil(blocks / splits))


def tiles(tile: G, M: int, N: int) -> int:
    """How many tiles a product has."""
    return math.ceil(M / tile.block_m) * math.ceil(N / tile.block_n)
