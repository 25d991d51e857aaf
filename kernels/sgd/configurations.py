"""Block sizes: those of `adam_`, which is bound by the same memory."""

from __future__ import annotations

from torch import Tensor

from fastk.kernels.adam.configurations import SHIPPED, Parameters, StepConfiguration, tunable_of

__all__ = ["SHIPPED", "TUNABLE", "Parameters", "StepConfiguration"]


def _arguments(lists: list[list[Tensor]]) -> tuple:
    params, grads, *momenta = lists
    return params, grads, momenta[0] if momenta else None, 1e-3, 0.9 if momenta else 0.0, False, None


TUNABLE = tunable_of("sgd", 2, _arguments)
