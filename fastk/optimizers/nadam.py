"""Nadam."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk import config
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_ratio_, update_moments_
from fastk.optimizers.plan import tensor_of
from fastk.variable import Variable

DECAY = 0.96


class Nadam(Optimizer):
    """Adam with Nesterov momentum.

    With `u_t = beta_1 * (1 - 0.96^t / 2)`, `U_t = u_1 * ... * u_t` and Adam's means m and v,
    `d = u_{t+1} * m / (1 - U_{t+1}) + (1 - u_t) * g / (1 - U_t)`, then
    `w -= learning_rate * d / (sqrt(v / (1 - beta_2^t)) + epsilon)`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        beta_1: weight of the old mean of gradients.
        beta_2: weight of the old mean of squares.
        epsilon: keeps the divisor from zero.
        options: the arguments of `Optimizer`.

    Source: Dozat, Incorporating Nesterov Momentum into Adam, 2016.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.Nadam(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy().round(3)
    array([0.894], dtype=float32)
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
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        dtype = variables[0].dtype if variables else config.floatx()
        self._u_product = Variable(1.0, dtype=dtype, trainable=False, name="u_product")

    def _u(self, step):
        return self.beta_1 * (1.0 - 0.5 * DECAY**step)

    def _begin_update(self, step):
        tensor_of(self._u_product).mul_(self._u(step))

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        means, squares = slots
        update_moments_(means, squares, gradients, self.beta_1, self.beta_2)
        product = tensor_of(self._u_product)
        product = product.item() if product.is_cpu else product
        now, ahead = self._u(step), self._u(step + 1)
        directions = torch._foreach_mul(means, ahead / (1.0 - product * ahead))
        torch._foreach_add_(directions, torch._foreach_mul(gradients, (1.0 - now) / (1.0 - product)))
        divisors = torch._foreach_div(squares, 1.0 - self.beta_2**step)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, self.epsilon)
        subtract_ratio_(parameters, directions, divisors, learning_rate)
