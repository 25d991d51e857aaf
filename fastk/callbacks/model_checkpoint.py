"""`ModelCheckpoint`: saves the model, or its weights, while it is trained."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastk.callbacks.monitor_callback import MonitorCallback
from fastk.callbacks.save_schedule import SaveSchedule
from fastk.messages import tell
from fastk.user_warning import warn_user


class ModelCheckpoint(MonitorCallback):
    """Saves after every epoch, or every so many batches.

    Args:
        filepath: the file, ending in `.keras`, or for weights alone in `.weights.h5` or `.safetensors`; may hold
            `{epoch:02d}` and names of the logs, such as `{val_loss:.2f}`.
        monitor: the name in the logs that says which epoch is best.
        verbose: 1 says what is saved.
        save_best_only: whether to save only what is better than all before.
        save_weights_only: whether to save only the weights.
        mode: `"min"`, `"max"` or `"auto"`.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: a value to be better than from the start.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq = save_freq
        self._schedule = SaveSchedule(save_freq)
        self._current_epoch = 0
        if save_weights_only and not self.filepath.endswith((".weights.h5", ".safetensors")):
            raise ValueError(
                "When using `save_weights_only=True` in `ModelCheckpoint`, the filepath provided must end in "
                f"`.weights.h5` (Keras weights format) or `.safetensors`. Received: filepath={self.filepath}"
            )
        if not save_weights_only and not self.filepath.endswith(".keras"):
            raise ValueError(
                f"The filepath provided must end in `.keras` (Keras model format). Received: filepath={self.filepath}"
            )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._current_epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._schedule.due(batch):
            self._save(self._current_epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: dict) -> None:
        path = self._path(epoch, batch, logs)
        if not self._wanted(epoch, logs, path):
            return
        if os.path.isdir(path):
            raise OSError(
                f"Please specify a non-directory filepath for ModelCheckpoint. Received an existing folder: {path}"
            )
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)
        if self.verbose:
            tell(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _wanted(self, epoch: int, logs: dict, path: str) -> bool:
        if not self.save_best_only:
            if self.verbose:
                tell(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            warn_user(f"Can save best model only with {self.monitor} available.")
            return True
        if np.ndim(current) > 0:
            warn_user(
                f"Can save best model only when `monitor` is a scalar value. Received: {current}. "
                "Falling back to `save_best_only=False`."
            )
            return True
        before = "None" if self.best is None else f"{self.best:.5f}"
        improved = self._is_improvement(current, self.best)
        if self.verbose and improved:
            change = f"improved from {before} to {current:.5f}"
            tell(f"\nEpoch {epoch + 1}: {self.monitor} {change}, saving model to {path}")
        elif self.verbose:
            tell(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {before}")
        if improved:
            self.best = current
        return improved

    def _path(self, epoch: int, batch: int | None, logs: dict) -> str:
        values = {"epoch": epoch + 1, **({} if batch is None else {"batch": batch + 1}), **logs}
        try:
            return self.filepath.format(**values)
        except KeyError as error:
            raise KeyError(
                f'Failed to format this callback filepath: "{self.filepath}". '
                f"Reason: {error} is none of {sorted(values)}"
            ) from None
