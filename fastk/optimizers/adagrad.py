"""Adagrad."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.initializers import Constant
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_ratio_


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares so far.

    `s += g^2`, then `w -= learning_rate * g / sqrt(s + epsilon)`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        initial_accumulator_value: what the sums start from.
        epsilon: keeps the divisor from zero.
        options: the arguments of `Optimizer`.

    Source: Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> optimizer = fastk.optimizers.Adagrad(learning_rate=0.1, initial_accumulator_value=0.0)
    >>> optimizer.apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy()
    array([0.9], dtype=float32)
    """

    hyperparameters = ("initial_accumulator_value", "epsilon")

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def _create_slots(self, variables):
        first = Constant(self.initial_accumulator_value)
        self._accumulators = self.add_optimizer_variables(variables, "accumulator", first)

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        (sums,) = slots
        torch._foreach_addcmul_(sums, gradients, gradients)
        roots = torch._foreach_add(sums, self.epsilon)
        torch._foreach_sqrt_(roots)
        subtract_ratio_(parameters, gradients, roots, learning_rate)
