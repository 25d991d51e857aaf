"""A tunable whose costs a test plants: y = 2 x, in a launcher that runs anywhere."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from fastk.autotune import Resources, Tunable, Work


@dataclass(frozen=True)
class Toy:
    block: int
    wrong: bool = False


class Problem(NamedTuple):
    size: int
    flag: bool
    architecture: int = 90
    sm_count: int = 132


BLOCKS = (16, 32, 64, 128, 256, 512, 1024, 2048)
launched = []


def double(x, configuration):
    launched.append(configuration)
    if configuration.block == 2048:
        raise RuntimeError("out of resources")
    return x * 3 if configuration.wrong else x * 2


def double_in_place(x, configuration):
    x.mul_(2)


def why_invalid(toy, problem):
    return None if toy.block <= 4 * problem.size else f"{toy.block} is more than four times {problem.size}"


def compiled(tunable, problem, arguments, configuration):
    assert arguments[0].is_meta and tuple(arguments[0].shape) == (4,)
    if configuration.block == 128:
        os._exit(3)  # as a compiler that crashes
    if configuration.block == 256:
        raise ValueError("no such instruction\nmore words")
    return Resources(32, 8 if configuration.block == 512 else 0, 0)


def make(name="toy", **changes):
    fields: dict[str, Any] = dict(
        name=name,
        problem=Problem,
        sizes=("size",),
        kinds=(Toy,),
        default=lambda problem: Toy(16),
        candidates=lambda problem: [Toy(block) for block in BLOCKS],
        why_invalid=why_invalid,
        work=lambda toy, problem: Work(132, 4, memory_bytes=1e6 * problem.size / toy.block),
        launcher=f"{__name__}:double",
        example=lambda problem, device: (torch.ones(problem.size, device=device),),
        compiler=f"{__name__}:compiled",
    )
    return Tunable(**(fields | changes))


if __name__ == "toy_tunable":  # pytest looks for doctests under another name
    TOY = make()
