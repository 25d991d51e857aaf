"""Tiles of batch normalisation over x [R, C]: 16 elements a thread, rows of at least 32 bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Work, example_tensor
from fastk.autotune.model import bursts
from fastk.kernels.tuning import tunable

MOST_ROWS_AT_ONCE = 512
MOST_PARTIALS = 512  # the second stage holds all of a channel's in one tile


@dataclass(frozen=True)
class TileConfiguration:
    """BLOCK_R rows by BLOCK_C channels. Where a tile holds all R rows, training takes one launch each way."""

    BLOCK_R: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why the kernels would be slow with it."""
        elements = self.BLOCK_R * self.BLOCK_C // (32 * self.num_warps)
        if elements > 16:
            return f"{elements} elements a thread: a mean and a sum of squares of each beside it spill above 16"
        if self.BLOCK_C < 16:
            return f"{self.BLOCK_C} channels of bfloat16 are less than a sector of 32 bytes"
        return None

    def holds(self, R: int) -> bool:
        """Whether one tile has all rows."""
        return self.BLOCK_R >= R


# All rows at once: 2048 elements on four warps, or 16 channels by more rows.
WHOLE = tuple(TileConfiguration(r, max(16, 2048 // r), max(4, r // 32)) for r in (16, 32, 64, 128, 256, 512))
# Rows in turn: eight warps, four of which programs keep enough bytes under way for the memory of a multiprocessor.
STREAMED = tuple(TileConfiguration(4096 // c, c, 8) for c in (16, 32, 64, 128))
SHIPPED = WHOLE + STREAMED


def choose_configuration(R: int, C: int) -> TileConfiguration:
    """A tile of all rows up to 512 of them, else the narrowest that has all channels."""
    if R <= MOST_ROWS_AT_ONCE:
        return next(tile for tile in WHOLE if tile.holds(R))
    return next((tile for tile in STREAMED if tile.BLOCK_C >= C), STREAMED[-1])


def split_rows(R: int, C: int, tile: TileConfiguration, processors: int) -> tuple[int, int, int]:
    """(programs over the channels, programs over the rows, blocks of rows for each of these)."""
    columns = -(-C // tile.BLOCK_C)
    blocks = -(-R // tile.BLOCK_R)
    programs = max(1, min(blocks, MOST_PARTIALS, 4 * processors // columns))
    steps = -(-blocks // programs)
    return columns, -(-blocks // steps), steps


class Rows(NamedTuple):
    """What is normalised: x [R, C], with or without statistics of its own."""

    R: int
    C: int
    dtype: torch.dtype
    training: bool
    masked: bool
    activation: str | None
    architecture: int
    sm_count: int


def candidates(problem: Rows) -> Iterator[TileConfiguration]:
    """The tiles that are shipped, and others of 1024 to 4096 elements."""
    yield from SHIPPED
    for elements, width, num_warps in itertools.product((1024, 2048, 4096), (16, 32, 64, 128, 256), (4, 8)):
        yield TileConfiguration(elements // width, width, num_warps)


def _work(tensors: int, passes: int):
    """What one launch over so many tensors asks, or, where a tile does not hold the rows, so many passes over them."""

    def work(tile: TileConfiguration, problem: Rows) -> Work:
        size = problem.dtype.itemsize
        whole = problem.training and tile.holds(problem.R)
        columns, programs, steps = (
            (math.ceil(problem.C / tile.BLOCK_C), 1, 1)
            if whole
            else split_rows(problem.R, problem.C, tile, problem.sm_count)
        )
        repeated = 1 if whole or not problem.training else passes
        share = tile.BLOCK_R * tile.BLOCK_C // (32 * tile.num_warps)
        waste = bursts(tile.BLOCK_C * size) if tile.BLOCK_C < problem.C else 1.0
        return Work(
            programs=columns * programs,
            warps=tile.num_warps,
            memory_bytes=(tensors + (repeated - 1) * (tensors - 1)) * problem.R * problem.C * size * waste,
            steps=steps * repeated,
            operations=20.0 * tile.BLOCK_R * tile.BLOCK_C,
            copied=(tensors - 1) * tile.BLOCK_R * tile.BLOCK_C * size,
            registers=32 + 3 * tensors * share,
            launches=1 if repeated == 1 else 3,
        )

    return work


def _weights(problem: Rows, device: str) -> tuple:
    """gamma, beta, a mean and a variance."""
    weights = [example_tensor((problem.C,), torch.float32, device, seed) for seed in (1, 2, 3, 4)]
    return *weights[:3], weights[3] ** 2


def _mask(problem: Rows, device: str) -> torch.Tensor | None:
    return torch.ones(problem.R, dtype=torch.bool, device=device) if problem.masked else None


def _forward_example(problem: Rows, device: str) -> tuple:
    x = example_tensor((problem.R, problem.C), problem.dtype, device)
    gamma, beta, mean, variance = _weights(problem, device)
    statistics = (None, None) if problem.training else (mean, variance)
    flags = 1, 1e-3, problem.training, _mask(problem, device), problem.activation
    return x, gamma, beta, *statistics, *flags


def _backward_example(problem: Rows, device: str) -> tuple:
    g, x = (example_tensor((problem.R, problem.C), problem.dtype, device, seed) for seed in (5, 6))
    count = torch.full((1,), float(problem.R), device=device)
    flags = 1e-3, problem.training, _mask(problem, device), problem.activation, (True, True)
    return g, x, *_weights(problem, device), count, *flags


FORWARD = tunable(
    name="batch_norm.forward",
    problem=Rows,
    sizes=("R", "C"),
    kinds=(TileConfiguration,),
    default=lambda p: choose_configuration(p.R, p.C),
    candidates=candidates,
    why_invalid=lambda tile, p: tile.why_invalid(),
    work=_work(2, 2),
    launcher="fastk.kernels.batch_norm.triton_kernels:batch_norm_forward",
    example=_forward_example,
    accuracy=lambda p: Accuracy(length=max(1, p.R)),
)
BACKWARD = replace(
    FORWARD,
    name="batch_norm.backward",
    work=_work(3, 2),
    launcher="fastk.kernels.batch_norm.triton_kernels:batch_norm_backward",
    example=_backward_example,
)
