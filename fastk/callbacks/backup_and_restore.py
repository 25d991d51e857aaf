"""`BackupAndRestore`: lets a training run that was interrupted go on where it was."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from fastk.callbacks.callback import Callback
from fastk.callbacks.save_schedule import SaveSchedule


class BackupAndRestore(Callback):
    """Backs up the model, the optimizer and the epoch; `fit` called again, in a new process, goes on from there.

    Args:
        backup_dir: a folder for nothing else.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: whether the backup before the last is kept too.
        delete_checkpoint: whether the backup is deleted when training is complete.
    """

    def __init__(
        self,
        backup_dir: Any,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed: give the path of a folder for the backups.")
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._schedule = SaveSchedule(save_freq)
        self._current_epoch = 0
        self._weights_path = os.path.join(self.backup_dir, "latest.weights.h5")
        self._metadata_path = os.path.join(self.backup_dir, "training_metadata.json")

    def on_train_begin(self, logs: dict | None = None) -> None:
        try:
            self._restore("")
        except (OSError, ValueError):
            if not os.path.exists(f"{self._weights_path}.bkp"):
                raise
            self._restore(".bkp")

    def _restore(self, suffix: str) -> None:
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, your model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
        weights, metadata = self._weights_path + suffix, self._metadata_path + suffix
        if os.path.exists(weights):
            optimizer = self.model.optimizer
            if optimizer is not None and not optimizer.built:
                optimizer.build(self.model.trainable_variables)
            if suffix:
                shutil.copyfile(weights, self._weights_path)  # the name says what kind of file it is
            self.model.load_weights(self._weights_path)
        if os.path.exists(metadata):
            with open(metadata) as file:
                self._current_epoch = json.load(file)["epoch"]
            self.model._initial_epoch = self._current_epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._current_epoch = epoch + 1
        self._schedule.last_batch = None
        if self.save_freq == "epoch":
            self._back_up()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._schedule.due(batch):
            self._back_up()

    def _back_up(self) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint:
            for path in (self._weights_path, self._metadata_path):
                if os.path.exists(path):
                    shutil.copyfile(path, f"{path}.bkp")
        self.model.save_weights(self._weights_path, overwrite=True)
        # Written beside and renamed: a crash leaves the old epoch or the new one, never half a file.
        with open(f"{self._metadata_path}.new", "w") as file:
            json.dump({"epoch": self._current_epoch, "batch": self._schedule.last_batch or 0}, file)
        os.replace(f"{self._metadata_path}.new", self._metadata_path)

    def on_train_end(self, logs: dict | None = None) -> None:
        self.model._initial_epoch = None
        if self.delete_checkpoint and os.path.isdir(self.backup_dir):
            shutil.rmtree(self.backup_dir)
