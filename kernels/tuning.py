"""What the tuner needs of kernels: how a candidate is compiled, and what most tunables have in common."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from fastk import config
from fastk.autotune import Resources, Tunable

COMPILER = "fastk.kernels.tuning:compiled"
tunable = functools.partial(Tunable, compiler=COMPILER)


@contextlib.contextmanager
def as_called(problem: Any) -> Iterator[None]:
    """The global settings of the call that a problem came from: how float32 is multiplied."""
    precision = getattr(problem, "kind", None) or getattr(problem, "precision", None)
    before = config.float32_precision()
    if precision in config.FLOAT32_PRECISIONS:
        config.set_float32_precision(precision)
    try:
        yield
    finally:
        config.set_float32_precision(before)


def compiled(of: Tunable, problem: Any, arguments: tuple, configuration: Any) -> Resources:
    """What a candidate takes of the architecture that its problem names; the most of any kernel that it launches.

    Raises:
        ValueError: kernels cannot be compiled for the architecture without a GPU of it.
    """
    from fastk.kernels.verify.compiler import compiling_for
    from fastk.kernels.verify.machine_code import resource_usage

    with compiling_for(problem.architecture) as launches, as_called(problem):
        of.run(arguments, configuration)
    used = [(*resource_usage(launch.binary.cubin), launch.binary.shared_bytes) for launch in launches]
    return Resources(*(max(column) for column in zip(*used, strict=True)))
