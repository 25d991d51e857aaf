"""Adam."""

from __future__ import annotations

from typing import Unpack

from fastk.autograd import adam_
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options


class Adam(Optimizer):
    """Steps of a running mean of the gradients, each divided by the root of a running mean of their squares.

    `m += (1 - beta_1) * (g - m)`, `v += (1 - beta_2) * (g^2 - v)`, and at step t
    `w -= learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        beta_1: weight of the old mean of gradients.
        beta_2: weight of the old mean of squares.
        epsilon: keeps the divisor from zero; the paper's "epsilon hat", not torch's.
        amsgrad: divide by the largest `v` so far.
        options: the arguments of `Optimizer`.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015; Reddi et al., On the Convergence of Adam
    and Beyond, 2018 (`amsgrad`).

    >>> import fastk
    >>> w = fastk.Variable([1.0, 1.0])
    >>> fastk.optimizers.Adam(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0, -0.01])], [w])
    >>> w.numpy().round(3)
    array([0.9, 1.1], dtype=float32)
    """

    hyperparameters = ("beta_1", "beta_2", "epsilon", "amsgrad")
    _takes_options = True

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad

    def _create_slots(self, variables):
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        if self.amsgrad:
            self._velocity_hats = self.add_optimizer_variables(variables, "velocity_hat")

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step, options=None):
        largest = slots[2] if self.amsgrad else None
        adam_(
            parameters,
            gradients,
            slots[0],
            slots[1],
            largest,
            step,
            learning_rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            options,
        )
