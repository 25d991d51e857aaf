"""Hyperparameters: plain floats for arithmetic, with the `numpy()` that Keras's users read them by."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

from fastk import config
from fastk.naming import name_scope
from fastk.variable import Variable


class CommonOptions(TypedDict, total=False):
    """Keyword arguments that every optimizer takes; `Optimizer` says what they mean."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


class Options(CommonOptions, total=False):
    """`CommonOptions`, and `weight_decay` where it has no default of its own."""

    weight_decay: float | None


class HyperParameter(float):
    """A float that is also read with `numpy()`.

    >>> import fastk
    >>> fastk.optimizers.SGD(momentum=0.9).momentum.numpy()
    np.float64(0.9)
    """

    def numpy(self) -> np.float64:
        """The value as a NumPy scalar."""
        return np.float64(self)


class LearningRate(Variable):
    """The variable that holds an optimizer's learning rate.

    >>> import fastk
    >>> rate = fastk.optimizers.Adam(learning_rate=0.001).learning_rate
    >>> print(f"{rate.numpy()}", float(rate))
    0.001 0.0010000000474974513
    """

    def __init__(self, value: float, scope: str, caller: Any):
        with name_scope(scope, caller=caller):
            super().__init__(
                value,
                name="learning_rate",
                dtype=config.floatx(),
                trainable=False,
                aggregation="only_first_replica",
            )

    def numpy(self) -> np.ndarray:
        """The value as an array without dimensions."""
        return super().numpy().view(_Printed)


class _Printed(np.ndarray):
    """An array without dimensions that an f-string prints as `str` does.

    NumPy's own goes through float64 there: 0.0010000000474974513 for the float32 0.001.
    """

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else str(self)
