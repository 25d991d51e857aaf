"""LAMB."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_, update_moments_


class Lamb(Optimizer):
    """Adam's direction, of a length that is the learning rate times that of the variable: for very large batches.

    With `d = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)`, `w -= learning_rate * |w| / |d| * d`,
    where a norm of zero leaves `d` as it is.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        beta_1: weight of the old mean of gradients.
        beta_2: weight of the old mean of squares.
        epsilon: keeps the divisor from zero.
        options: the arguments of `Optimizer`.

    Source: You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020.

    >>> import fastk
    >>> w = fastk.Variable([3.0, 4.0])
    >>> fastk.optimizers.Lamb(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0, 2.0])], [w])
    >>> w.numpy().round(3)
    array([2.646, 3.646], dtype=float32)
    """

    hyperparameters = ("beta_1", "beta_2", "epsilon")

    _is_elementwise = False

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

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        means, squares = slots
        update_moments_(means, squares, gradients, self.beta_1, self.beta_2)
        divisors = torch._foreach_div(squares, 1.0 - self.beta_2**step)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, self.epsilon)
        updates = torch._foreach_div(means, 1.0 - self.beta_1**step)
        torch._foreach_div_(updates, divisors)
        weights, lengths = (torch.stack(list(torch._foreach_norm(x))) for x in (parameters, updates))
        ratios = torch.where((weights > 0) & (lengths > 0), weights / lengths, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        subtract_(parameters, updates, learning_rate)
