"""Tiles of the matrix products that `dense` and `conv2d` launch, what a device has for them, and how K is split.

>>> from fastk.kernels.gemm_configurations import GemmConfiguration
>>> str(GemmConfiguration(128, 256, 64, 8, 3, descriptors=True, parts=4))
'128x256x64 w8 s3 tma/4'
>>> GemmConfiguration(128, 256, 64, 8, 4).why_invalid(itemsize=2, architecture=80)
'196608 bytes of shared memory are more than the 166912 of sm_80'
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from fastk.autotune import Work
from fastk.autotune.model import WAIT, step_clocks

ARCHITECTURES = (80, 90, 100)  # what tiles are compiled for, as 10 major + minor of the compute capability


def compiled_for(architecture: int) -> int:
    """The nearest of `ARCHITECTURES` that is not newer: what is known of it goes for the device.

    >>> compiled_for(103), compiled_for(89), compiled_for(75)
    (100, 80, 80)
    """
    return max(a for a in ARCHITECTURES if a <= architecture or a == ARCHITECTURES[0])


# Bytes of shared memory that a program can have, by compute capability.
SHARED_MEMORY = {
    80: 166_912, 86: 101_376, 87: 166_912, 89: 101_376, 90: 232_448, 100: 232_448, 103: 232_448, 120: 101_376,
}  # fmt: skip


def shared_memory(architecture: int) -> int:
    """The most shared memory of a program; on a device not listed the least of those that are.

    >>> shared_memory(90), shared_memory(75)
    (232448, 101376)
    """
    return SHARED_MEMORY.get(architecture, min(SHARED_MEMORY.values()))


@dataclass(frozen=True)
class GemmConfiguration:
    """block_m x block_n of the product, block_k of the reduction; num_stages blocks of K are in flight.

    descriptors: read and stored through TMA, by as many programs as run at once; else through pointers.
    parts: how many pieces, side by side, the epilogue takes a tile in: each needs registers only while it is made.
    splits: programs a tile, each a part of K, where the sum can be split; 0 for as many as `splits_of` says.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    descriptors: bool = False
    parts: int = 1
    splits: int = 0

    def why_invalid(self, itemsize: int, architecture: int) -> str | None:
        """None, or why it cannot run on operands of `itemsize` bytes."""
        sizes = (self.block_m, self.block_n, self.block_k, self.num_warps, self.parts)
        if any(size & (size - 1) or size < 1 for size in sizes) or min(sizes[:3]) < 16:
            return f"blocks must be powers of two of at least 16, warps and parts powers of two: {self}"
        accumulators = self.block_m * self.block_n // (32 * self.num_warps)
        if accumulators > 128:
            return f"{accumulators} accumulators a thread leave no registers for addresses; at most 128"
        if self.descriptors and architecture < 90:
            return f"sm_{architecture} has no TMA"
        needed = self.num_stages * (self.block_m + self.block_n) * self.block_k * itemsize
        if self.descriptors:  # what is stored is staged beside the next tile's operands
            needed += self.block_m * self.block_n // self.parts * itemsize
        limit = shared_memory(architecture)
        if needed > limit:
            return f"{needed} bytes of shared memory are more than the {limit} of sm_{architecture}"
        return None

    def __str__(self):
        how = f" tma/{self.parts}" if self.descriptors else f" /{self.parts}" if self.parts > 1 else ""
        split = f" k/{self.splits}" if self.splits else ""
        return f"{self.block_m}x{self.block_n}x{self.block_k} w{self.num_warps} s{self.num_stages}{how}{split}"


def tiles(tile: GemmConfiguration, M: int, N: int) -> int:
    """How many tiles a product has."""
    return math.ceil(M / tile.block_m) * math.ceil(N / tile.block_n)


def cost(tile: GemmConfiguration, M: int, N: int, K: int) -> float:
    """Clocks that a product takes in such tiles one by one: an estimate, by which tiles are compared.

    A step of a tile multiplies, moves its operands and waits for them, with the figures of sm_90 in bfloat16
    (`autotune.model`): an operand costs as much as 32 multiplications, a wait as 65 536. By that 128 x 128 loses a
    tenth to 128 x 256, 64 x 64 three eighths, and what a tile multiplies beyond the product is weighed against it.
    Not measured yet.

    >>> large, small = GemmConfiguration(128, 256, 64, 8, 3), GemmConfiguration(128, 128, 64, 8, 3)
    >>> [min((large, small), key=lambda tile: cost(tile, 1024, N, 1024)).block_n for N in (768, 784, 1024)]
    [256, 128, 256]
    """
    step = step_clocks(tile.block_m * tile.block_n * tile.block_k, 2 * operands(tile)) + WAIT
    return tiles(tile, M, N) * math.ceil(K / tile.block_k) * step


def operands(tile: GemmConfiguration) -> int:
    """Elements that a step of a tile reads."""
    return (tile.block_m + tile.block_n) * tile.block_k


def space(kind: str, descriptors: bool) -> Iterator[GemmConfiguration]:
    """The tiles that tensor cores, or in "ieee" the other ones, are fed well with, by pointers or by descriptors."""
    deep = {"half": (32, 64, 128), "ieee": (16, 32)}.get(kind, (16, 32, 64))
    wide = (128, 256) if descriptors else (32, 64, 128, 256)
    for block_m, block_n, block_k in itertools.product((64, 128, 256), wide, deep):
        for num_warps, num_stages in itertools.product((4, 8), (2, 3, 4, 5)):
            held = block_m * block_n // (32 * num_warps)  # where many accumulators are, the epilogue spills in one
            for parts in ((2, 4) if held > 64 else (1, 2)) if descriptors else (1,):
                yield GemmConfiguration(block_m, block_n, block_k, num_warps, num_stages, descriptors, parts)


def product_work(
    tile: GemmConfiguration, M: int, N: int, K: int, kind: str, itemsize: int, splits: int = 1, copies: int = 1,
    memory_bytes: float | None = None,
) -> Work:  # fmt: skip
    """What `copies` products of M x N x K in such tiles ask of a device.

    memory_bytes: None for the operands and the result of one product, each once.
    """
    blocks = math.ceil(K / tile.block_k)
    splits = max(1, min(splits, blocks))
    partial = 8.0 * splits * M * N if splits > 1 else 0.0  # written and read in float32
    moved = (M * K + K * N + M * N) * itemsize * copies if memory_bytes is None else memory_bytes
    threads = 32 * tile.num_warps
    return Work(
        programs=tiles(tile, M, N) * splits * copies,
        warps=tile.num_warps,
        memory_bytes=moved + partial * copies,
        steps=math.ceil(blocks / splits),
        products=tile.block_m * tile.block_n * tile.block_k,
        kind=kind,
        copied=operands(tile) * itemsize,
        ahead=max(1, tile.num_stages - 1),
        shared_bytes=tile.num_stages * operands(tile) * itemsize,
        registers=min(255, tile.block_m * tile.block_n // threads + 64),
        launches=2 if splits > 1 else 1,
    )


def cheapest(fitting: Sequence[GemmConfiguration], M: int, N: int, K: int) -> GemmConfiguration:
    """Of the tiles of least cost the one that multiplies least."""
    return min(fitting, key=lambda tile: (cost(tile, M, N, K), tiles(tile, M, N) * tile.block_m * tile.block_n))


def kind_of(dtype: torch.dtype, precision: str) -> str:
    """The kind of arithmetic: "half" for 16-bit types, else how float32 is multiplied (float64 as "ieee")."""
    return "half" if dtype.itemsize == 2 else precision


@functools.cache
def splits_of(count: int, blocks: int, sm_count: int, least: int = 1, most: int = 0) -> tuple[int, int]:
    """(programs a tile, blocks of K each): two programs for each SM, but not less than 8 blocks each; at least `least`.

    A split costs a write and a read of its partial product: with fewer blocks than that these outweigh the products.

    Args:
        count: tiles.
        blocks: of K.
        sm_count: of the device.
        least: programs a tile that there must be.
        most: asks for so many, 0 for what is said above.
    """
    splits = max(1, min(blocks, max(least, most or min(2 * sm_count // count, blocks // 8))))
    steps = max(1, math.ceil(blocks / splits))
    return max(1, math.ceil(blocks / steps)), steps
