"""Lion."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_


class Lion(Optimizer):
    """Steps of one size: the sign of a mix of the gradient and its running mean.

    `w -= learning_rate * sign(beta_1 * m + (1 - beta_1) * g)`, then `m = beta_2 * m + (1 - beta_2) * g`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments; a third to a tenth of Adam's.
        beta_1: weight of the mean in the mix, in (0, 1].
        beta_2: weight of the old mean.
        options: the arguments of `Optimizer`.

    Source: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023.

    >>> import fastk
    >>> w = fastk.Variable([1.0, 1.0])
    >>> fastk.optimizers.Lion(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0, -0.01])], [w])
    >>> w.numpy()
    array([0.9, 1.1], dtype=float32)
    """

    hyperparameters = ("beta_1", "beta_2")

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ValueError(
                "Argument `beta_1` must be in the [0, 1] range. Otherwise, the optimizer degenerates to SignSGD. "
                f"Received: beta_1={beta_1}."
            )
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def _create_slots(self, variables):
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        (means,) = slots
        directions = torch._foreach_lerp(means, gradients, 1.0 - self.beta_1)
        torch._foreach_sign_(directions)
        subtract_(parameters, directions, learning_rate)
        torch._foreach_lerp_(means, gradients, 1.0 - self.beta_2)
