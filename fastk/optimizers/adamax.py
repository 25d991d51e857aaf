"""Adamax."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_ratio_


class Adamax(Optimizer):
    """Adam with a decaying maximum of the gradients in place of their mean square.

    `m += (1 - beta_1) * (g - m)`, `u = max(beta_2 * u, |g|)`, and at step t
    `w -= learning_rate / (1 - beta_1^t) * m / (u + epsilon)`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        beta_1: weight of the old mean of gradients.
        beta_2: factor that the old maximum decays by.
        epsilon: keeps the divisor from zero.
        options: the arguments of `Optimizer`.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, section 7.1.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.Adamax(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy()
    array([0.9], dtype=float32)
    """

    hyperparameters = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def _create_slots(self, variables):
        self._m, self._u = self.add_optimizer_variables(variables, ["momentum", "norm"])

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        means, maxima = slots
        torch._foreach_lerp_(means, gradients, 1.0 - self.beta_1)
        torch._foreach_mul_(maxima, self.beta_2)
        torch._foreach_maximum_(maxima, torch._foreach_abs(gradients))
        divisors = torch._foreach_add(maxima, self.epsilon)
        subtract_ratio_(parameters, means, divisors, learning_rate / (1.0 - self.beta_1**step))
