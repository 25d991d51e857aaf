"""Launch configurations of elementwise kernels over flat tensors.

A program takes `block` units of `UNIT` elements. Where the size allows, a unit is 8 elements: a mask over units is the
same for 8 neighbours, so that accesses are 128 bits wide whatever else the size is divisible by.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from fastk.autotune import Work, example_tensor
from fastk.kernels.tuning import tunable

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


class Elements(NamedTuple):
    """An elementwise pass: how many elements of what type, and the activation."""

    numel: int
    dtype: torch.dtype
    name: str | None
    architecture: int
    sm_count: int


SPACE = tuple(itertools.starmap(ElementwiseConfiguration, itertools.product((512, 1024, 2048, 4096, 8192), (2, 4, 8))))


def _work(streams: int):
    """What a pass over so many tensors, one of them written, asks of the device."""

    def work(configuration: ElementwiseConfiguration, problem: Elements) -> Work:
        block, size = configuration.block, problem.dtype.itemsize
        share = block // (32 * configuration.num_warps)
        return Work(
            programs=math.ceil(problem.numel / block),
            warps=configuration.num_warps,
            memory_bytes=streams * problem.numel * size,
            operations=20.0 * block,
            copied=(streams - 1) * block * size,
            registers=24 + streams * share,
        )

    return work


FORWARD = tunable(
    name="activation.forward",
    problem=Elements,
    sizes=("numel",),
    kinds=(ElementwiseConfiguration,),
    default=lambda p: choose_configuration(p.numel, p.sm_count),
    candidates=lambda p: SPACE,
    why_invalid=lambda c, p: c.why_invalid(),
    work=_work(2),
    launcher="fastk.kernels.activation.triton_kernels:activation_forward",
    example=lambda p, device: (example_tensor((p.numel,), p.dtype, device), p.name),
)
BACKWARD = replace(
    FORWARD,
    name="activation.backward",
    work=_work(3),
    launcher="fastk.kernels.activation.triton_kernels:activation_backward",
    example=lambda p, device: (*(example_tensor((p.numel,), p.dtype, device, seed) for seed in (0, 1)), p.name),
)
