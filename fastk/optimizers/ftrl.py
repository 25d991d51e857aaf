"""FTRL-Proximal."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.initializers import Constant
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options


class Ftrl(Optimizer):
    """Follow the regularised leader: for large sparse linear models.

    With `q = -learning_rate_power` and `r = learning_rate`, `n' = n + g^2`,
    `z += g + 2 * l2_shrinkage * w - (n'^q - n^q) / r * w`, then
    `w = (clip(z, -l1, l1) - z) / (n'^q / r + 2 * (l2 + beta / (2 * r)))`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        learning_rate_power: at most 0; how the learning rate falls. 0 keeps it.
        initial_accumulator_value: what the sums of squares `n` start from, at least 0.
        l1_regularization_strength, l2_regularization_strength: penalties of the stabilised objective, at least 0.
        l2_shrinkage_regularization_strength: penalty of the magnitude, at least 0.
        beta: the paper's.
        options: the arguments of `Optimizer`.

    Source: McMahan et al., Ad Click Prediction: a View from the Trenches, 2013.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.Ftrl(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy().round(3)
    array([0.745], dtype=float32)
    """

    hyperparameters = (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
    )

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        if learning_rate_power > 0.0:
            raise ValueError(
                "`learning_rate_power` needs to be negative or zero. Received: "
                f"learning_rate_power={learning_rate_power}."
            )
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        for name in self.hyperparameters[1:5]:
            if getattr(self, name) < 0.0:
                raise ValueError(f"`{name}` needs to be positive or zero. Received: {name}={getattr(self, name)}.")

    def _create_slots(self, variables):
        self._accumulators, self._linears = self.add_optimizer_variables(
            variables, ["accumulator", "linear"], [Constant(self.initial_accumulator_value), "zeros"]
        )

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        sums, linears = slots
        power = -self.learning_rate_power
        before = torch._foreach_pow(sums, power)
        torch._foreach_addcmul_(sums, gradients, gradients)
        after = torch._foreach_pow(sums, power)
        torch._foreach_add_(linears, gradients)
        torch._foreach_add_(linears, parameters, alpha=2.0 * self.l2_shrinkage_regularization_strength)
        differences = torch._foreach_sub(after, before)
        torch._foreach_mul_(differences, parameters)
        torch._foreach_div_(differences, learning_rate)
        torch._foreach_sub_(linears, differences)
        torch._foreach_div_(after, learning_rate)
        l2 = self.l2_regularization_strength + self.beta / (2.0 * learning_rate)
        # In a list, since torch reads a tensor that is given as a number.
        torch._foreach_add_(after, [2.0 * l2] * len(after) if isinstance(l2, torch.Tensor) else 2.0 * l2)
        limit = self.l1_regularization_strength
        clipped = torch._foreach_clamp_max(linears, limit)
        torch._foreach_clamp_min_(clipped, -limit)
        torch._foreach_sub_(clipped, linears)
        torch._foreach_div_(clipped, after)
        torch._foreach_copy_(parameters, clipped)
