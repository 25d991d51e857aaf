"""`EarlyStopping`: ends training when a value has stopped improving."""

from __future__ import annotations

import math
import time
from typing import Any

from fastk import ops
from fastk.callbacks.monitor_callback import MonitorCallback
from fastk.messages import tell


class EarlyStopping(MonitorCallback):
    """Stops when `monitor` has not improved for `patience` epochs.

    Args:
        monitor: the name in the logs.
        min_delta: the least change that counts as an improvement.
        patience: epochs without one, after which training stops.
        verbose: 1 says at each epoch whether it was one, and at the end that training stopped.
        mode: `"min"`, `"max"` or `"auto"`.
        baseline: a value to be better than; else training stops after `patience` epochs.
        restore_best_weights: whether to end with the weights of the best epoch.
        start_from_epoch: epochs to wait before watching.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._start()

    def _start(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: Any = None
        self.best_weights: list | None = None
        self._epoch_start = time.perf_counter()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.monitor_op is None:
            self._set_monitor_op()
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        improved = self._is_improvement(current, self.best)
        self._say(epoch, current, improved)
        if improved:
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def get_monitor_value(self, logs: dict | None) -> Any:
        """What is watched, from the epoch's logs; warns, and returns None, where it is not among them."""
        return self._monitored(logs, "Early stopping")

    def _say(self, epoch: int, current: float, improved: bool) -> None:
        if self.verbose:
            start = math.inf if self.monitor_op is ops.less else -math.inf
            best = start if self.best is None else self.best
            seconds = time.perf_counter() - self._epoch_start
            what = f"improved from {best:.5f} to {current:.5f}" if improved else f"did not improve from {best:.5f}"
            tell(f"Epoch {epoch + 1}: {self.monitor} {what} - {seconds:.0f}s")

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            tell(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                tell(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)
