"""How the rows of logits are cut into programs."""

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


@dataclass(frozen=True)
class RowConfiguration:
    """BLOCK_M rows of BLOCK_C classes a program at a time, by num_warps warps."""

    BLOCK_M: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: a thread must have a 128-bit access of one row, or a few of a long one.

        With more rows a thread loads the labels, and backward the statistics, in pieces.
        """
        share = self.BLOCK_M * self.BLOCK_C // (32 * self.num_warps)
        if share in (4, 8) or (self.BLOCK_M == 1 and share == 16):
            return None
        return f"a thread would have {share} elements of {self.BLOCK_M} rows, not 4, 8 or of one row 16"


_BY_ROWS = {
    share: tuple(RowConfiguration(128 * share // classes, classes, 4) for classes in _classes)
    for share, _classes in {8: (16, 32, 64, 128, 256, 512, 1024), 4: (16, 32, 64, 128, 256, 512)}.items()
}
_BY_ROW = RowConfiguration(1, 1024, 4), RowConfiguration(1, 2048, 4), RowConfiguration(1, 4096, 8)
SHIPPED = tuple(dict.fromkeys((*_BY_ROWS[8], *_BY_ROWS[4], *_BY_ROW)))


def choose_configuration(classes: int, itemsize: int) -> RowConfiguration:
    """The smallest block that holds a row; longer rows are walked in blocks of the largest. itemsize: of a logit.

    >>> [choose_configuration(classes, 2).BLOCK_C for classes in (10, 1000, 32000)]
    [16, 1024, 4096]
    """
    candidates = (*_BY_ROWS[8 if itemsize == 2 else 4], *_BY_ROW)
    return next((shipped for shipped in candidates if classes <= shipped.BLOCK_C), _BY_ROW[-1])


class Logits(NamedTuple):
    """Rows of logits, and labels that are numbers of classes (sparse) or distributions."""

    rows: int
    classes: int
    dtype: torch.dtype
    sparse: bool
    architecture: int
    sm_count: int


def candidates(problem: Logits) -> Iterator[RowConfiguration]:
    """Blocks of 16 to 8192 classes, of as many rows as leave a thread 4, 8 or 16 elements."""
    for classes, num_warps, share in itertools.product(
        (1 << power for power in range(4, 14)), (1, 2, 4, 8), (4, 8, 16)
    ):
        rows = 32 * num_warps * share // classes
        if rows:
            yield RowConfiguration(rows, classes, num_warps)


def why_invalid(configuration: RowConfiguration, problem: Logits) -> str | None:
    """None, or why it is of no use for these rows."""
    width = max(16, 1 << (problem.classes - 1).bit_length())
    if width < configuration.BLOCK_C:
        return f"a block of {configuration.BLOCK_C} for rows of {problem.classes} is half empty"
    return configuration.why_invalid()


def _work(tensors: int, passes: int):
    """What passes over so many tensors ask; a row that is no longer than a block is read once."""

    def work(configuration: RowConfiguration, problem: Logits) -> Work:
        tile = configuration.BLOCK_M * configuration.BLOCK_C
        blocks = math.ceil(problem.classes / configuration.BLOCK_C)
        repeated = passes if blocks > 1 else 1
        read = (tensors + (0 if problem.sparse else 1)) * bursts(configuration.BLOCK_C * problem.dtype.itemsize)
        return Work(
            programs=math.ceil(problem.rows / configuration.BLOCK_M),
            warps=configuration.num_warps,
            memory_bytes=read * problem.rows * problem.classes * problem.dtype.itemsize,
            steps=blocks * repeated,
            operations=20.0 * tile,
            copied=tile * problem.dtype.itemsize,
            wait=64.0 if configuration.BLOCK_M > 1 else 64.0 * math.log2(2 * configuration.num_warps),
            registers=24 + 4 * tile // (32 * configuration.num_warps),
        )

    return work


def _tensors(problem: Logits, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    logits = example_tensor((problem.rows, problem.classes), problem.dtype, device)
    if problem.sparse:
        return logits, torch.zeros(problem.rows, dtype=torch.int64, device=device)
    return logits, torch.full_like(logits, 1.0 / problem.classes)


def _both_example(problem: Logits, device: str) -> tuple:
    weights = example_tensor((problem.rows,), problem.dtype, device, 1)
    return *_tensors(problem, device), weights, problem.sparse, 0.0, None


def _backward_example(problem: Logits, device: str) -> tuple:
    logits, labels = _tensors(problem, device)
    g = example_tensor((problem.rows,), problem.dtype, device, 1)
    statistics = torch.ones(2 if problem.sparse else 3, problem.rows, device=device)
    return g, logits, labels, statistics, problem.sparse, 0.0, None, (True, False)


FORWARD = tunable(
    name="softmax_cross_entropy.forward",
    problem=Logits,
    sizes=("rows",),
    kinds=(RowConfiguration,),
    default=lambda p: choose_configuration(p.classes, p.dtype.itemsize),
    candidates=candidates,
    why_invalid=why_invalid,
    work=_work(1, 1),
    launcher="fastk.kernels.softmax_cross_entropy.triton_kernels:softmax_cross_entropy_forward",
    example=lambda p, device: (*_tensors(p, device), p.sparse, 0.0, None),
    accuracy=lambda p: Accuracy(length=max(1, p.classes)),
)
BOTH = replace(
    FORWARD,
    name="softmax_cross_entropy.with_gradient",
    work=_work(2, 2),
    launcher="fastk.kernels.softmax_cross_entropy.triton_kernels:softmax_cross_entropy_with_gradient",
    example=_both_example,
)


def _backward_work(configuration: RowConfiguration, problem: Logits) -> Work:
    """Blocks of classes are programs of their own."""
    one = _work(2, 1)(configuration, problem)
    return replace(one, programs=one.programs * one.steps, steps=1)


BACKWARD = replace(
    FORWARD,
    name="softmax_cross_entropy.backward",
    work=_backward_work,
    launcher="fastk.kernels.softmax_cross_entropy.triton_kernels:softmax_cross_entropy_backward",
    example=_backward_example,
)
