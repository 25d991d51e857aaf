"""Tiles of the matrix products of dense, which of them are shipped, and which one a call takes.

A program makes block_m x block_n of the product and steps through K by block_k. Every tile below is compiled for the
architectures it is shipped for; the gates of `python -m fastk.kernels report` say what it needs there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Work, example_tensor
from fastk.kernels.gemm_configurations import (
    GemmConfiguration,
    cheapest,
    compiled_for,
    product_work,
    space,
    splits_of,
    tiles,
)
from fastk.kernels.tuning import tunable

GROUP_M = 8  # rows of tiles that are made at the same time, and share columns of B in L2

G = GemmConfiguration
# By kind of arithmetic, from the largest tile to the smallest.
_POINTERS = {
    "half": (G(128, 64, 64, 8, 4), G(64, 64, 64, 4, 4), G(64, 32, 64, 4, 4)),
    "tf32": (G(128, 64, 32, 8, 3), G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "tf32x3": (G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "ieee": (G(64, 64, 16, 4, 2), G(64, 32, 16, 4, 2)),
}
# On sm_90 ptxas serialises its wgmma (C7515). On 4 warps dropout spills 64 bytes, in one part erf and dropout spill 16.
_WITHOUT_TMA = G(128, 128, 64, 8, 3, parts=2)
_DESCRIPTORS = {
    "half": (G(128, 256, 64, 8, 3, True, 4), G(128, 128, 64, 8, 4, True, 2)),
    "tf32": (G(128, 256, 32, 8, 3, True, 4), G(128, 128, 32, 8, 4, True, 2)),
    "tf32x3": (G(128, 128, 32, 8, 3, True, 2),),  # 184 to 204 registers already: both operands are there in two parts
    "ieee": (),
}


# Registers a thread may have in a product without an epilogue. Left to itself ptxas aims at fewer, and spills 16 bytes.
_REGISTERS = {(90, "ieee", G(64, 64, 16, 4, 2)): 104}


def most_registers(tile: G, kind: str, architecture: int) -> int | None:
    """What a thread of a product without an epilogue may have at most; None leaves it to ptxas."""
    return _REGISTERS.get((compiled_for(architecture), kind, tile))


@functools.cache
def shipped(kind: str, architecture: int) -> tuple[G, ...]:
    """The tiles for a kind of arithmetic, largest first."""
    larger = _DESCRIPTORS[kind] if architecture >= 90 else (_WITHOUT_TMA,) if kind == "half" else ()
    return larger + _POINTERS[kind]


@functools.cache
def choose_configuration(M: int, N: int, kind: str, aligned: bool, architecture: int, sm_count: int) -> G:
    """The cheapest tile of those that leave one for every SM, else of those that are most.

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
    enough = min(sm_count, max(tiles(tile, M, N) for tile in fitting))
    return cheapest([tile for tile in fitting if tiles(tile, M, N) >= enough], M, N, 64)


class Product(NamedTuple):
    """A product that `gemm` is asked for: its sizes, what is done to it, and the device."""

    M: int
    N: int
    K: int
    dtype: torch.dtype
    kind: str
    trans_a: bool
    trans_b: bool
    has_bias: bool
    activation: str | None
    drops: bool
    aligned: bool
    architecture: int
    sm_count: int

    @property
    def plain(self) -> bool:
        """Whether K may be split."""
        return not self.has_bias and self.activation in (None, "linear") and not self.drops


def candidates(problem: Product) -> Iterator[G]:
    """Tiles through pointers and through TMA; of plain products those of the default also with K split otherwise."""
    yield from shipped(problem.kind, problem.architecture)
    for descriptors in (True, False):
        yield from space(problem.kind, descriptors)
    if problem.plain:
        for tile in shipped(problem.kind, problem.architecture):
            yield from (replace(tile, splits=splits) for splits in (1, 2, 4, 8, 16, 32))


def why_invalid(tile: G, problem: Product) -> str | None:
    """None, or why a tile cannot make this product."""
    if tile.descriptors and not problem.aligned:
        return "a matrix cannot be described to TMA: its rows or its start are not multiples of 16 bytes"
    if tile.descriptors and problem.kind == "ieee":
        return "products without tensor cores take operands through pointers"
    if tile.splits > 1 and (not problem.plain or tile.splits > math.ceil(problem.K / tile.block_k)):
        return f"a sum over {problem.K} with what follows it cannot be split into {tile.splits}"
    return tile.why_invalid(problem.dtype.itemsize, problem.architecture)


def work(tile: G, problem: Product) -> Work:
    """What a tile asks of the device."""
    splits = 1
    if problem.plain:
        blocks = math.ceil(problem.K / tile.block_k)
        splits = tile.splits or splits_of(tiles(tile, problem.M, problem.N), blocks, problem.sm_count)[0]
    return product_work(tile, problem.M, problem.N, problem.K, problem.kind, problem.dtype.itemsize, splits)


def example(problem: Product, device: str) -> tuple:
    """The arguments of `gemm`."""
    M, N, K, dtype = problem[:4]
    a = example_tensor((K, M) if problem.trans_a else (M, K), dtype, device)
    b = example_tensor((N, K) if problem.trans_b else (K, N), dtype, device, seed=1)
    bias = example_tensor((N,), dtype, device, seed=2) if problem.has_bias else None
    seed = torch.ones(2, dtype=torch.int64, device=device) if problem.drops else None
    return a, b, problem.trans_a, problem.trans_b, bias, problem.activation, seed, 0.1 if problem.drops else 0.0


TUNABLE = tunable(
    name="dense.gemm",
    problem=Product,
    sizes=("M", "N", "K"),
    kinds=(GemmConfiguration,),
    default=lambda p: choose_configuration(p.M, p.N, p.kind, p.aligned, p.architecture, p.sm_count),
    candidates=candidates,
    why_invalid=why_invalid,
    work=work,
    launcher="fastk.kernels.dense.triton_gemm:gemm",
    example=example,
    accuracy=lambda p: Accuracy(length=p.K),
)
