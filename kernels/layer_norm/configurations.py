"""Tiles of layer normalisation: whole rows, held in registers from the load to the store."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Work, example_tensor
from fastk.kernels.tuning import tunable

LONGEST_ROW = 8192  # with 16384 backward, on 32 warps of 64 registers, spills 176 bytes a thread in float32


@dataclass(frozen=True)
class RowConfiguration:
    """BLOCK_M rows of up to BLOCK_N elements for each program."""

    BLOCK_M: int
    BLOCK_N: int
    num_warps: int

    def why_invalid(self, N: int) -> str | None:
        """None, or why it cannot take rows of N elements."""
        if self.BLOCK_N < N:
            return f"a tile of {self.BLOCK_N} columns does not hold a row of {N}"
        elements = self.BLOCK_M * self.BLOCK_N // (32 * self.num_warps)
        if elements > 16:
            return f"{elements} elements a thread: backward keeps six values of each, and spills above 16"
        return None


def _of(elements: int, BLOCK_N: int) -> RowConfiguration:
    return RowConfiguration(max(1, elements // BLOCK_N), BLOCK_N, max(1, max(elements, BLOCK_N) // 512))


_WIDTHS = tuple(1 << power for power in range(4, 14))
# 512 elements are a warp's, for few rows; of many rows eight warps share gamma, beta and the sums of their gradients.
SHIPPED = tuple(dict.fromkeys(_of(elements, width) for width in _WIDTHS for elements in (512, 4096)))
# Warps that a multiprocessor has of each kernel: with 80 and 128 registers a thread, which is what they need.
FORWARD_WARPS, BACKWARD_WARPS = 24, 16


def choose_configuration(M: int, N: int, processors: int) -> RowConfiguration:
    """The narrowest tile that holds a row; of 4096 elements where two programs for each multiprocessor remain."""
    width = max(16, 1 << (N - 1).bit_length())
    large = _of(4096, width)
    return large if 2 * processors * large.BLOCK_M <= M else _of(512, width)


def share_out(M: int, configuration: RowConfiguration, warps: int, processors: int) -> tuple[int, int]:
    """(programs, blocks of rows for each): no more programs than are under way at once, of `warps` a multiprocessor.

    >>> share_out(65536, RowConfiguration(4, 1024, 8), warps=16, processors=132)
    (261, 63)
    """
    blocks = -(-M // configuration.BLOCK_M)
    resident = max(1, warps // configuration.num_warps) * processors
    steps = -(-blocks // min(blocks, resident))
    return -(-blocks // steps), steps


def registers(configuration: RowConfiguration, warps: int) -> int:
    """How many a thread may have for `warps` to be on a multiprocessor at once; ptxas itself may aim lower, and spill.

    >>> registers(RowConfiguration(4, 1024, 8), warps=24), registers(RowConfiguration(1, 8192, 16), warps=24)
    (80, 128)
    """
    resident = max(1, warps // configuration.num_warps) * configuration.num_warps
    return 65536 // (32 * resident) // 8 * 8


class Rows(NamedTuple):
    """M rows of N elements that are normalised together."""

    M: int
    N: int
    dtype: torch.dtype
    architecture: int
    sm_count: int


def candidates(problem: Rows) -> Iterator[RowConfiguration]:
    """The narrowest tile that holds a row, of more and of fewer rows, by more and by fewer warps."""
    width = max(16, 1 << (problem.N - 1).bit_length())
    for rows, num_warps in itertools.product((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 4, 8, 16)):
        if rows * width // (32 * num_warps) >= 4:
            yield RowConfiguration(rows, width, num_warps)


def _work(tensors: int, warps: int):
    """What a pass over so many tensors asks, by programs of which so many warps are resident."""

    def work(tile: RowConfiguration, problem: Rows) -> Work:
        programs, steps = share_out(problem.M, tile, warps, problem.sm_count)
        copied = (tensors - 1) * tile.BLOCK_M * tile.BLOCK_N * problem.dtype.itemsize
        return Work(
            programs=programs,
            warps=tile.num_warps,
            memory_bytes=tensors * problem.M * problem.N * problem.dtype.itemsize + 8.0 * programs * problem.N,
            steps=steps,
            operations=20.0 * tile.BLOCK_M * tile.BLOCK_N,
            copied=copied,
            wait=64.0 * math.log2(2 * tile.num_warps),  # the sums of a row go through all its warps
            registers=registers(tile, warps),
        )

    return work


def _forward_example(problem: Rows, device: str) -> tuple:
    x = example_tensor((problem.M, problem.N), problem.dtype, device)
    gamma, beta = (example_tensor((problem.N,), torch.float32, device, seed) for seed in (1, 2))
    return x, gamma, beta, (1,), 1e-3


def _backward_example(problem: Rows, device: str) -> tuple:
    g, x = (example_tensor((problem.M, problem.N), problem.dtype, device, seed) for seed in (3, 4))
    mean, r = (example_tensor((problem.M,), torch.float32, device, seed) for seed in (5, 6))
    gamma = example_tensor((problem.N,), torch.float32, device, 1)
    return g, x, gamma, mean, r, (1,), (True, True)


FORWARD = tunable(
    name="layer_norm.forward",
    problem=Rows,
    sizes=("M",),
    kinds=(RowConfiguration,),
    default=lambda p: choose_configuration(p.M, p.N, p.sm_count),
    candidates=candidates,
    why_invalid=lambda tile, p: tile.why_invalid(p.N),
    work=_work(2, FORWARD_WARPS),
    launcher="fastk.kernels.layer_norm.triton_kernels:layer_norm_forward",
    example=_forward_example,
    accuracy=lambda p: Accuracy(length=max(1, p.N)),
)
BACKWARD = replace(
    FORWARD,
    name="layer_norm.backward",
    work=_work(3, BACKWARD_WARPS),
    launcher="fastk.kernels.layer_norm.triton_kernels:layer_norm_backward",
    example=_backward_example,
    accuracy=lambda p: Accuracy(length=max(1, p.M, p.N)),
)
