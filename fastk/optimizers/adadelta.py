"""Adadelta."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_


class Adadelta(Optimizer):
    """Gradients in the unit of the weights: times the root mean square of past steps, over that of past gradients.

    `s = rho * s + (1 - rho) * g^2`, `d = sqrt(u + epsilon) / sqrt(s + epsilon) * g`,
    `u = rho * u + (1 - rho) * d^2`, then `w -= learning_rate * d`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments; 1.0 is the paper's.
        rho: weight of the old means.
        epsilon: keeps the divisor from zero.
        options: the arguments of `Optimizer`.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.Adadelta(learning_rate=100.0).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy().round(3)
    array([0.859], dtype=float32)
    """

    hyperparameters = ("rho", "epsilon")

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.epsilon = epsilon

    def _create_slots(self, variables):
        self._accumulated_grads, self._accumulated_delta_vars = self.add_optimizer_variables(
            variables, ["accumulated_grad", "accumulated_delta_var"]
        )

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        squares, squared_steps = slots
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - self.rho)
        steps = self._root(squared_steps)
        torch._foreach_div_(steps, self._root(squares))
        torch._foreach_mul_(steps, gradients)
        torch._foreach_mul_(squared_steps, self.rho)
        torch._foreach_addcmul_(squared_steps, steps, steps, 1.0 - self.rho)
        subtract_(parameters, steps, learning_rate)

    def _root(self, squares):
        roots = torch._foreach_add(squares, self.epsilon)
        torch._foreach_sqrt_(roots)
        return roots
