"""Muon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Unpack

import torch

from fastk.autograd import adam_
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import CommonOptions
from fastk.optimizers.multi_tensor import subtract_
from fastk.optimizers.plan import Group
from fastk.variable import Variable


class Muon(Optimizer):
    """Momentum whose steps are made orthogonal, for matrices; AdamW for all other variables, and for embeddings.

    For a matrix `m = momentum * m + g`, and `w -= learning_rate * rms_rate * sqrt(max(rows, columns)) * orthogonal(m)`,
    where a few Newton-Schulz steps bring the singular values of `orthogonal(m)` near 1.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        adam_beta_1, adam_beta_2, epsilon: of AdamW.
        adam_weight_decay: weight decay of the variables that AdamW updates.
        weight_decay: weight decay of the others.
        exclude_layers: regular expressions; matrices with one in their path go to AdamW.
        exclude_embeddings: whether matrices with "embedding" in their path go to AdamW.
        muon_a, muon_b, muon_c: coefficients of the Newton-Schulz polynomial.
        adam_lr_ratio: learning rate of AdamW, in units of `learning_rate`.
        momentum: weight of the old momentum.
        ns_steps: number of Newton-Schulz steps.
        nesterov: look one step ahead.
        rms_rate: root mean square of a step; None leaves steps as they are.
        options: the arguments of `Optimizer`.

    Source: Jordan, Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is Scalable for LLM
    Training, 2025 (`rms_rate`).

    >>> import fastk
    >>> w = fastk.Variable([[1.0, 0.0], [0.0, 1.0]], name="kernel")
    >>> optimizer = fastk.optimizers.Muon(learning_rate=0.1, weight_decay=None)
    >>> optimizer.apply([fastk.ops.convert_to_tensor([[5.0, 0.0], [0.0, 0.1]])], [w])
    >>> w.numpy().round(2)
    array([[0.98, 0.  ],
           [0.  , 0.98]], dtype=float32)
    """

    hyperparameters = (
        "adam_beta_1",
        "adam_beta_2",
        "epsilon",
        "exclude_layers",
        "muon_a",
        "muon_b",
        "muon_c",
        "adam_lr_ratio",
        "momentum",
        "ns_steps",
        "nesterov",
        "exclude_embeddings",
        "adam_weight_decay",
        "rms_rate",
    )

    _is_elementwise = False

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        *,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **options: Unpack[CommonOptions],
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_weight_decay = adam_weight_decay
        self.epsilon = epsilon
        self.exclude_layers = list(exclude_layers or [])
        self.exclude_embeddings = exclude_embeddings
        self.muon_a = muon_a
        self.muon_b = muon_b
        self.muon_c = muon_c
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.ns_steps = ns_steps
        self.nesterov = nesterov
        self.rms_rate = rms_rate

    def _should_use_adamw(self, variable: Variable) -> bool:
        if variable.ndim != 2 or (self.exclude_embeddings and "embedding" in variable.path.lower()):
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def _create_slots(self, variables):
        self.momentums: list[Variable | None] = []
        self.adam_velocities: list[Variable | None] = []
        for variable in variables:
            momentum = velocity = None
            if not variable.overwrite_with_gradient:
                momentum = self.add_variable_from_reference(variable, "momentum")
                if self._should_use_adamw(variable):
                    velocity = self.add_variable_from_reference(variable, "velocity")
            self.momentums.append(momentum)
            self.adam_velocities.append(velocity)
        self._slots.extend([self.momentums, self.adam_velocities])

    def _weight_decay_of(self, group: Group) -> float | None:
        return self.adam_weight_decay if group.slots[1] else self.weight_decay

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        momenta, velocities = slots
        if velocities:
            beta_1, beta_2, rate = self.adam_beta_1, self.adam_beta_2, learning_rate * self.adam_lr_ratio
            adam_(parameters, gradients, momenta, velocities, None, step, rate, beta_1, beta_2, self.epsilon)
            return
        torch._foreach_mul_(momenta, self.momentum)
        torch._foreach_add_(momenta, gradients)
        directions = torch._foreach_add(gradients, momenta, alpha=self.momentum) if self.nesterov else momenta
        updates = [self.lr_adjust(self.zeropower_via_newtonschulz5(x, self.ns_steps)) for x in directions]
        subtract_(parameters, updates, learning_rate)

    def lr_adjust(self, x: torch.Tensor) -> torch.Tensor:
        """An orthogonal matrix `x` scaled to a root mean square of `rms_rate`."""
        return x if self.rms_rate is None else x * (self.rms_rate * max(x.shape) ** 0.5)

    def zeropower_via_newtonschulz5(self, x: torch.Tensor, steps: int) -> torch.Tensor:
        """The matrix `x` (or several, along leading axes) with all its singular values brought near 1."""
        if x.ndim < 2:
            raise ValueError(
                f"Expected gradient or momentum to have at least 2 dimensions. Received: shape={tuple(x.shape)}"
            )
        tall = x.shape[-2] > x.shape[-1]
        x = x.mT if tall else x
        x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
        for _ in range(steps):
            square = x @ x.mT
            x = self.muon_a * x + (self.muon_b * square + self.muon_c * square @ square) @ x
        return x.mT if tall else x
