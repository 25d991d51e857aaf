"""Cosine schedules (Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017)."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk.optimizers.schedules.base import ClosedForm, Number, check_positive, number, scalar


class CosineDecay(ClosedForm):
    """A linear rise to `warmup_target`, if there is one, then half a cosine down to `alpha` times the top.

    `top * ((1 - alpha) * 0.5 * (1 + cos(pi * step / decay_steps)) + alpha)`, step counted from the end of the rise.

    Args:
        initial_learning_rate: the rate of step 0.
        decay_steps: length of the fall, above 0.
        alpha: the last rate, as a fraction of the top.
        name: kept in the configuration.
        warmup_target: the top; None: no rise, and `initial_learning_rate` is the top.
        warmup_steps: length of the rise.

    >>> import fastk
    >>> rate = fastk.optimizers.schedules.CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10)
    >>> [round(float(rate(step)), 4) for step in (5, 10, 60)]
    [0.05, 0.1, 0.05]
    """

    arguments = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: Number,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        if self.warmup_target is None:
            return self._fall(step.clamp(max=self.decay_steps), number(self.initial_learning_rate))
        initial = scalar(self.initial_learning_rate, step)
        top = scalar(self.warmup_target, step)
        step = step.clamp(max=self.decay_steps + self.warmup_steps)
        rise = (top - initial) * (step / self.warmup_steps) + initial
        return torch.where(step < self.warmup_steps, rise, self._fall(step - self.warmup_steps, top))

    def _fall(self, step: torch.Tensor, top: Any) -> torch.Tensor:
        cosine = 0.5 * (1.0 + torch.cos(math.pi * (step / self.decay_steps)))
        return top * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(ClosedForm):
    """Half cosines from the top down to `alpha` times `initial_learning_rate`, one after the other.

    Args:
        initial_learning_rate: the rate of step 0.
        first_decay_steps: length of the first one, above 0.
        t_mul: each is so many times as long as the one before.
        m_mul: the top of each is so many times that of the one before.
        alpha: the lowest rate, as a fraction of `initial_learning_rate`.
        name: kept in the configuration.

    >>> import fastk
    >>> rate = fastk.optimizers.schedules.CosineDecayRestarts(0.1, first_decay_steps=10)
    >>> [round(float(rate(step)), 4) for step in (5, 10, 20)]
    [0.05, 0.1, 0.05]
    """

    arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(
        self,
        initial_learning_rate: Number,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        check_positive("first_decay_steps", first_decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        done = step / self.first_decay_steps
        if self.t_mul == 1.0:
            restarts = done.floor()
            done = done - restarts
        else:
            # After n restarts 1 + t_mul + ... + t_mul^(n-1) = (1 - t_mul^n) / (1 - t_mul) first lengths have passed.
            t_mul = scalar(self.t_mul, step)
            restarts = torch.floor(torch.log(1.0 - done * (1.0 - t_mul)) / torch.log(t_mul))
            length = t_mul**restarts
            done = (done - (1.0 - length) / (1.0 - t_mul)) / length
        cosine = 0.5 * torch.pow(self.m_mul, restarts) * (1.0 + torch.cos(math.pi * done))
        alpha = scalar(self.alpha, step)
        return scalar(self.initial_learning_rate, step) * ((1 - alpha) * cosine + alpha)
