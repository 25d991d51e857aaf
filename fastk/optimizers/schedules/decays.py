"""Schedules that decay: exponentially, by inverse time, along a polynomial, in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastk import config, tensor
from fastk.dtypes import to_torch_dtype
from fastk.optimizers.schedules.base import ClosedForm, Number, check_positive, number, scalar


class ExponentialDecay(ClosedForm):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`.

    Args:
        initial_learning_rate: the rate of step 0.
        decay_steps: steps, above 0, in which the rate falls by `decay_rate`.
        decay_rate: the factor.
        staircase: round the exponent down to whole numbers.
        name: kept in the configuration.

    >>> import fastk
    >>> print(fastk.optimizers.schedules.ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)(200))
    0.025
    """

    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: Number,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        periods = step / self.decay_steps
        if self.staircase:
            periods = periods.floor()
        return torch.pow(self.decay_rate, periods) * number(self.initial_learning_rate)


class InverseTimeDecay(ClosedForm):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`.

    Args:
        initial_learning_rate: the rate of step 0.
        decay_steps: number, above 0, of steps that count as one unit of time.
        decay_rate: how much the divisor grows in one unit.
        staircase: round the time down to whole units.
        name: kept in the configuration.

    >>> import fastk
    >>> print(fastk.optimizers.schedules.InverseTimeDecay(0.1, decay_steps=1, decay_rate=0.5)(2))
    0.05
    """

    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: Number,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        time = step / self.decay_steps
        if self.staircase:
            time = time.floor()
        return scalar(self.initial_learning_rate, step) / (time * self.decay_rate + 1)


class PolynomialDecay(ClosedForm):
    """`(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ** power + end_learning_rate`.

    Args:
        initial_learning_rate: the rate of step 0.
        decay_steps: the step, above 0, at which `end_learning_rate` is reached.
        end_learning_rate: the rate from there on.
        power: the polynomial's; 1 is linear.
        cycle: start again at `decay_steps`, each time with the next multiple of it in its place.
        name: kept in the configuration.

    >>> import fastk
    >>> print(fastk.optimizers.schedules.PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5))
    0.05
    """

    arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(
        self,
        initial_learning_rate: Number,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        initial, end = scalar(self.initial_learning_rate, step), scalar(self.end_learning_rate, step)
        if self.cycle:
            cycles = torch.where(step == 0, 1.0, (step / self.decay_steps).ceil())
            done = step / (cycles * self.decay_steps)
        else:
            done = step.clamp(max=self.decay_steps) / self.decay_steps
        return (initial - end) * (1 - done) ** self.power + end


class PiecewiseConstantDecay(ClosedForm):
    """`values[0]` up to and including step `boundaries[0]`, then `values[1]` up to `boundaries[1]`, and so on.

    Args:
        boundaries: steps, increasing.
        values: learning rates, one more than boundaries.
        name: kept in the configuration.

    >>> import fastk
    >>> rate = fastk.optimizers.schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> print(rate(10), rate(11), rate(21))
    1.0 0.5 0.1
    """

    arguments = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. Received: "
                f"boundaries={boundaries} of length {len(boundaries)}, and values={values} of length {len(values)}."
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: Any) -> torch.Tensor:
        """The learning rate of `step`, as a tensor without dimensions."""
        # The step keeps its type: float32 does not tell 2**24 from 2**24 + 1.
        return tensor.to_boundary(self._rate(tensor.convert_to_tensor(step)))

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        # Filled on the step's device: a copy of a number from the host would make a GPU wait.
        rate = step.new_full((), float(self.values[0]), dtype=to_torch_dtype(config.floatx()))
        for boundary, value in zip(self.boundaries, self.values[1:], strict=True):
            rate = torch.where(step > boundary, value, rate)
        return rate
