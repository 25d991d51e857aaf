"""Block sizes of the optimizer steps: `adam_`, `sgd_` and `rmsprop_` are bound by the same memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastk.autotune import Tunable, Work, example_tensor
from fastk.kernels.triton_runtime import architecture, sm_count
from fastk.kernels.tuning import tunable


@dataclass(frozen=True)
class StepConfiguration:
    """BLOCK elements of one tensor for each program."""

    BLOCK: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why the kernel would be slow or wrong with it."""
        elements = self.BLOCK // (32 * self.num_warps)
        if self.BLOCK & (self.BLOCK - 1):
            return f"BLOCK must be a power of two, and {self.BLOCK} is not"
        if not 8 <= elements <= 16:
            return (
                f"{elements} elements a thread: below 8 a half-precision access is no 16 bytes, above 16 values spill"
            )
        return None


SHIPPED = (StepConfiguration(2048, 4), StepConfiguration(1024, 4))


class Parameters(NamedTuple):
    """What a step moves: elements of so many tensors; lists: params, gradients and what goes with them."""

    numel: int
    tensors: int
    lists: int
    dtype: torch.dtype
    architecture: int
    sm_count: int

    @classmethod
    def of(cls, lists: tuple[list[Tensor], ...]) -> Parameters:
        """Of the lists of a step, `lists[0]` being the params."""
        params = lists[0]
        numel = sum([param.numel() for param in params])
        return cls(numel, len(params), len(lists), params[0].dtype, architecture(), sm_count())


def choose_configuration(numel: int, processors: int) -> StepConfiguration:
    """The large blocks, where they make four programs for each multiprocessor; below it small ones share the work."""
    large, small = SHIPPED
    return large if numel >= 4 * processors * large.BLOCK else small


def work(configuration: StepConfiguration, problem: Parameters) -> Work:
    """Every list but that of the gradients is read and written."""
    read, block = problem.lists * problem.dtype.itemsize, configuration.BLOCK
    return Work(
        programs=math.ceil(problem.numel / block) + problem.tensors // 2,  # each tensor has a block that is not full
        warps=configuration.num_warps,
        memory_bytes=problem.numel * (2 * read - problem.dtype.itemsize),
        operations=20.0 * block,
        copied=read * block,
        registers=24 + problem.lists * block // (32 * configuration.num_warps),
    )


def tunable_of(op: str, least: int, arguments: Callable[[list[list[Tensor]]], tuple]) -> Tunable:
    """The choice of an optimizer's step.

    Args:
        op: its folder.
        least: how many lists it has without those that may be None.
        arguments: the arguments of its launcher, of the lists.
    """

    def example(problem: Parameters, device: str) -> tuple:
        share = -(-problem.numel // problem.tensors)
        sizes = [min(share, problem.numel - i * share) for i in range(problem.tensors)]
        lists = range(max(least, problem.lists))
        return arguments([[example_tensor((max(1, n),), problem.dtype, device, i) ** 2 for n in sizes] for i in lists])

    return tunable(
        name=f"{op}.step",
        problem=Parameters,
        sizes=("numel", "tensors"),
        kinds=(StepConfiguration,),
        default=lambda p: choose_configuration(p.numel, p.sm_count),
        candidates=lambda p: itertools.starmap(
            StepConfiguration, itertools.product((512, 1024, 2048, 4096), (2, 4, 8))
        ),
        why_invalid=lambda c, p: c.why_invalid(),
        work=work,
        launcher=f"fastk.kernels.{op}.triton_kernels:{op}_",
        example=example,
        in_place=True,
    )


def _arguments(lists: list[list[Tensor]]) -> tuple:
    params, grads, m, v, *vhat = lists
    return params, grads, m, v, vhat[0] if vhat else None, 1, 1e-3, 0.9, 0.999, 1e-7, None


TUNABLE = tunable_of("adam", 4, _arguments)
