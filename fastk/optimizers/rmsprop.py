"""RMSprop."""

from __future__ import annotations

from typing import Unpack

from fastk.autograd import rmsprop_
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options


class RMSprop(Optimizer):
    """Gradients divided by the root of a running mean of their squares.

    `v = rho * v + (1 - rho) * g^2`, then `w -= learning_rate * g / sqrt(v + epsilon)`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        rho: weight of the old mean.
        momentum: of the steps; 0 is none.
        epsilon: keeps the divisor from zero.
        centered: divide by an estimate of the standard deviation: `v` less the square of the mean gradient.
        options: the arguments of `Optimizer`.

    Source: Hinton, Neural networks for machine learning, lecture 6e, 2012.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.RMSprop(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy().round(3)
    array([0.684], dtype=float32)
    """

    hyperparameters = ("rho", "momentum", "epsilon", "centered")
    _takes_options = True

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def _create_slots(self, variables):
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        self._momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum > 0 else []
        self._average_gradients = self.add_optimizer_variables(variables, "average_gradient") if self.centered else []

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step, options=None):
        momenta = slots[1] if self.momentum > 0 else None
        averages = slots[-1] if self.centered else None
        rmsprop_(
            parameters,
            gradients,
            slots[0],
            momenta,
            averages,
            learning_rate,
            self.rho,
            self.momentum,
            self.epsilon,
            self.centered,
            options,
        )
