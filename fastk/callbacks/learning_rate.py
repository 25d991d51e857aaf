"""Callbacks that change the learning rate: by a schedule over epochs, or when a value has stopped improving."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastk.callbacks.callback import Callback
from fastk.callbacks.monitor_callback import MonitorCallback
from fastk.messages import tell
from fastk.tensor import convert_to_numpy


def _rate(optimizer: Any) -> float:
    return float(convert_to_numpy(optimizer.learning_rate))


def _parts(optimizer: Any) -> list[tuple[str, Any]]:
    """`(name, optimizer)` of the optimizers that have a learning rate; one alone needs no name."""
    parts = getattr(optimizer, "optimizers", None)
    return [("", optimizer)] if parts is None else [(part.name, part) for part in parts]


def _note_rates(optimizer: Any, logs: dict | None) -> None:
    if logs is not None:
        for name, part in _parts(optimizer):
            logs[f"learning_rate_{name}" if name else "learning_rate"] = _rate(part)


def _takes_two(function: Callable) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a function in C without a signature
        return True
    return True


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of each epoch.

    Args:
        schedule: `schedule(epoch, learning_rate)` (or `schedule(epoch)`), with the epoch counted from 0, returns a
            float.
        verbose: 1 says what is set.

    >>> import fastk
    >>> halve = fastk.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    >>> model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    >>> model.compile(fastk.optimizers.SGD(0.5), "mse")
    >>> data = fastk.ops.ones((4, 2)), fastk.ops.ones((4, 1))
    >>> model.fit(*data, epochs=2, callbacks=[halve], verbose=0).history["learning_rate"]
    [0.25, 0.125]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        for name, optimizer in _parts(self.model.optimizer):
            if not hasattr(optimizer, "learning_rate"):
                raise ValueError(f"Optimizer {optimizer!r} must have a `learning_rate` attribute.")
            two = _takes_two(self.schedule)
            rate = self.schedule(epoch, _rate(optimizer)) if two else self.schedule(epoch)
            if not isinstance(rate, (float, np.floating)):
                raise ValueError(
                    f"The output of the `schedule` function should be a float. Got: {rate} (of type {type(rate)})"
                )
            optimizer.learning_rate = float(rate)
            if self.verbose:
                whose = f"{name} learning rate" if name else "learning rate"
                tell(f"\nEpoch {epoch + 1}: LearningRateScheduler setting {whose} to {rate}.")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        _note_rates(self.model.optimizer, logs)


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when `monitor` has not improved for `patience` epochs.

    Args:
        monitor: the name in the logs.
        factor: what the learning rate is multiplied by; below 1.
        patience: epochs without an improvement, after which it is lowered.
        verbose: 1 says when it is.
        mode: `"min"`, `"max"` or `"auto"`.
        min_delta: the least change that counts as an improvement.
        cooldown: epochs to wait after that before counting again.
        min_lr: the lowest learning rate.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.best = None
        self.cooldown_counter = self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether the learning rate was lowered a short while ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        _note_rates(self.model.optimizer, logs)
        current = self._monitored(logs, "Learning rate reduction is")
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        for name, optimizer in _parts(self.model.optimizer):
            rate = _rate(optimizer)
            if rate <= np.float32(self.min_lr):
                continue
            optimizer.learning_rate = new = max(rate * self.factor, self.min_lr)
            if self.verbose:
                whose = f"{name} learning rate" if name else "learning rate"
                tell(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing {whose} to {new}.")
            self.cooldown_counter, self.wait = self.cooldown, 0
