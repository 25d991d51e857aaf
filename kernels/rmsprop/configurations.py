"""Block sizes: those of `adam_`, which is bound by the same memory."""

from __future__ import annotations

from torch import Tensor

from fastk.kernels.adam.configurations import SHIPPED, Parameters, StepConfiguration, tunable_of

__all__ = ["SHIPPED", "TUNABLE", "Parameters", "StepConfiguration"]


def _arguments(lists: list[list[Tensor]]) -> tuple:
    params, grads, velocities, *others = lists
    momenta, averages = (*others, None, None)[:2]
    return params, grads, velocities, momenta, averages, 1e-3, 0.9, 0.9 if momenta else 0.0, 1e-7, None


TUNABLE = tunable_of("rmsprop", 3, _arguments)
