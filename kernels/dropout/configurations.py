"""How dropout's streaming kernel is cut into programs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from fastk.autotune import Work, example_tensor
from fastk.kernels.tuning import tunable


@dataclass(frozen=True)
class DropoutConfiguration:
    """BLOCK elements a program, by num_warps warps."""

    BLOCK: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: each thread must have whole groups of 8 elements, and few enough registers."""
        share = self.BLOCK // (32 * self.num_warps)
        return None if share in (8, 16, 32) else f"a thread would have {share} elements, not 8, 16 or 32"


# 16 elements a thread keep two to four 128-bit loads in flight; 8 fill the device sooner.
SHIPPED = (DropoutConfiguration(2048, 4), DropoutConfiguration(1024, 4))


def choose_configuration(size: int, sm_count: int) -> DropoutConfiguration:
    """The larger block where it still makes two waves of 8 programs on every multiprocessor."""
    large, small = SHIPPED
    return large if size >= 16 * sm_count * large.BLOCK else small


class Elements(NamedTuple):
    """How many elements of what type; reads: whether they are scaled and dropped, or the mask itself is made."""

    size: int
    dtype: torch.dtype
    reads: bool
    architecture: int
    sm_count: int


def work(configuration: DropoutConfiguration, problem: Elements) -> Work:
    """7 rounds of Philox, of two multiplications each, make the masks of 16 elements."""
    block, size = configuration.BLOCK, problem.dtype.itemsize
    return Work(
        programs=math.ceil(problem.size / block),
        warps=configuration.num_warps,
        memory_bytes=(1 + problem.reads) * problem.size * size,
        operations=12.0 * block,
        copied=block * size,
        registers=32 + block // (32 * configuration.num_warps),
    )


def _example(problem: Elements, device: str) -> tuple:
    y, x = (example_tensor((problem.size,), problem.dtype, device, seed) for seed in (0, 1))
    return y, x if problem.reads else None, 0.1, torch.ones(2, dtype=torch.int64, device=device)


TUNABLE = tunable(
    name="dropout.mask",
    problem=Elements,
    sizes=("size",),
    kinds=(DropoutConfiguration,),
    default=lambda p: choose_configuration(p.size, p.sm_count),
    candidates=lambda p: itertools.starmap(
        DropoutConfiguration, itertools.product((512, 1024, 2048, 4096), (1, 2, 4, 8))
    ),
    why_invalid=lambda c, p: c.why_invalid(),
    work=work,
    launcher="fastk.kernels.dropout.triton_kernels:drop",
    example=_example,
    in_place=True,
)
