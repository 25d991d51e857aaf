"""`LearningRateSchedule`: a learning rate that depends on the step."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.dtypes import to_torch_dtype
from fastk.tensor import convert_to_tensor, to_boundary
from fastk.variable import Variable

Number = float | torch.Tensor | Variable


class LearningRateSchedule:
    """The base of schedules: `__call__(step)` gives the learning rate of the step (counted from 0).

    A schedule stands in the place of an optimizer's `learning_rate`.

    >>> import fastk
    >>> class Halving(fastk.optimizers.schedules.LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5 ** (step // 100)
    >>> float(fastk.optimizers.SGD(learning_rate=Halving()).learning_rate)
    0.10000000149011612
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate of `step`, an integer scalar: a number, a tensor or a variable."""
        raise NotImplementedError(
            f"Learning rate schedule '{type(self).__name__}' must override `__call__(self, step)`."
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError(
            f"Learning rate schedule '{type(self).__name__}' must override `get_config()` in order to be serializable."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """A schedule from `get_config`'s result."""
        return cls(**config)


class ClosedForm(LearningRateSchedule):
    """A schedule that is a formula of the step, computed where the step lives: nothing waits for a device."""

    # The constructor's arguments, which are also attributes.
    arguments: tuple[str, ...] = ()
    name: str

    def _rate(self, step: torch.Tensor) -> torch.Tensor:
        """The learning rate of `step`, a tensor of `floatx()`."""
        raise NotImplementedError

    def __call__(self, step: Any) -> torch.Tensor:
        """The learning rate of `step`, as a tensor without dimensions."""
        return to_boundary(self._rate(as_float(step)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        values = {name: number(getattr(self, name)) for name in self.arguments}
        return {name: float(v) if isinstance(v, torch.Tensor) else v for name, v in values.items()}


def as_float(step: Any) -> torch.Tensor:
    """`step` as a tensor of `floatx()`."""
    step = step.value if isinstance(step, Variable) else step
    dtype = to_torch_dtype(config.floatx())
    return step.to(dtype) if isinstance(step, torch.Tensor) else convert_to_tensor(step, dtype=dtype)


def scalar(value: Any, like: torch.Tensor) -> torch.Tensor:
    """`value`, a number, tensor or variable, as a tensor of the dtype and on the device of `like`.

    Keras rounds each constant to the step's dtype before it computes with it: so the last bit is the same.
    """
    value = number(value)
    return value.to(like) if isinstance(value, torch.Tensor) else like.new_full((), value)


def number(value: Any) -> Any:
    """`value`; of a variable its tensor."""
    return value.value.detach() if isinstance(value, Variable) else value


def check_positive(name: str, value: float) -> None:
    """Raises unless `value` is above 0."""
    if value <= 0:
        raise ValueError(f"Argument `{name}` must be > 0. Received: {name}={value}")
