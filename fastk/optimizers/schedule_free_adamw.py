"""Schedule-free AdamW."""

from __future__ import annotations

from typing import Unpack

import torch

from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.optimizers.multi_tensor import subtract_ratio_
from fastk.optimizers.plan import tensor_of


class ScheduleFreeAdamW(Optimizer):
    """AdamW on weights z, whose mean x over all steps is learnt too; gradients are taken between the two.

    With Adam's v and `d = g / (sqrt(v / (1 - beta_2^t)) + epsilon)`, `z -= learning_rate * d`,
    `x += (z - x) / t`, and the model's weights are `(1 - beta_1) * z + beta_1 * x`. No schedule is needed.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        beta_1: weight of x.
        beta_2: weight of the old mean of squares.
        epsilon: keeps the divisor from zero.
        warmup_steps: number of steps in which the learning rate rises from zero.
        options: the arguments of `Optimizer`.

    Source: Defazio et al., The Road Less Scheduled, 2024.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> fastk.optimizers.ScheduleFreeAdamW(learning_rate=0.1).apply([fastk.ops.convert_to_tensor([2.0])], [w])
    >>> w.numpy()
    array([0.9], dtype=float32)
    """

    hyperparameters = ("beta_1", "beta_2", "epsilon", "warmup_steps")

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warmup_steps = warmup_steps

    def _create_slots(self, variables):
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        for momentum, variable in zip(self._momentums, variables, strict=True):
            if momentum is not None:
                tensor_of(momentum).data.copy_(tensor_of(variable).detach())

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        weights, squares = slots
        if self.warmup_steps > 0:
            part = step / self.warmup_steps
            learning_rate = learning_rate * (part.clamp(max=1.0) if isinstance(part, torch.Tensor) else min(part, 1.0))
        # parameters = (1 - beta_1) z + beta_1 x: x comes out of the old ones, the new ones out of x.
        means = torch._foreach_sub(parameters, torch._foreach_mul(weights, 1.0 - self.beta_1))
        torch._foreach_div_(means, self.beta_1)
        torch._foreach_mul_(squares, self.beta_2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - self.beta_2)
        divisors = torch._foreach_div(squares, 1.0 - self.beta_2**step)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, self.epsilon)
        subtract_ratio_(weights, gradients, divisors, learning_rate)
        torch._foreach_mul_(means, self.beta_1 * (1.0 - 1.0 / step))
        share = self.beta_1 / step + (1.0 - self.beta_1)
        torch._foreach_copy_(parameters, torch._foreach_add(means, torch._foreach_mul(weights, share)))
