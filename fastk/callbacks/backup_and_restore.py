"""`BackupAndRestore`: lets a training run that was interrupted go on where it was."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from fastk.atomic import copy_atomically, write_atomically
from fastk.callbacks.callback import Callback
from fastk.callbacks.save_schedule import SaveSchedule
from fastk.distribution.files import is_writer
from fastk.distribution.sharding import is_sharded
from fastk.errors import FileFormatError
from fastk.random.seed_generator import global_seed_generator


class BackupAndRestore(Callback):
    """Backs up the model, the optimizer and the epoch; `fit` called again, in a new process, goes on from there.

    With `save_freq="epoch"`, the same seeds and data of arrays, training then ends where it would have ended without
    the interruption. A crash at any moment, also during a backup, leaves one that can be restored.

    Args:
        backup_dir: a folder for nothing else.
        save_freq: `"epoch"`, or a number of batches; after these, training goes on from the start of the epoch.
        double_checkpoint: whether the backup before the last is kept too, for when the last cannot be read.
        delete_checkpoint: whether the backup is deleted when training is complete.

    Raises:
        ValueError: where the model is not built when `fit` is called.

    >>> import tempfile, fastk
    >>> model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     backup = fastk.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    ...     _ = model.fit(fastk.ops.ones((4, 2)), fastk.ops.ones((4, 1)), epochs=2, callbacks=[backup], verbose=0)
    ...     history = model.fit(fastk.ops.ones((4, 2)), fastk.ops.ones((4, 1)), epochs=5, callbacks=[backup], verbose=0)
    >>> history.epoch
    [2, 3, 4]
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
        self._last_saved: dict[str, Any] | None = None
        self._weights_path = os.path.join(self.backup_dir, "latest.weights.h5")
        self._metadata_path = os.path.join(self.backup_dir, "training_metadata.json")

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, your model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
        if not is_writer() and not is_sharded(self.model):
            return  # `fit` sends what the first process has read to the others
        try:
            self._restore()
        except (OSError, FileFormatError, json.JSONDecodeError):
            if not os.path.exists(f"{self._weights_path}.bkp"):
                raise
            for path in (self._weights_path, self._metadata_path):
                copy_atomically(f"{path}.bkp", path)
            self._restore()

    def _restore(self) -> None:
        if not os.path.exists(self._weights_path):
            return
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self._weights_path)
        if os.path.exists(self._metadata_path):
            with open(self._metadata_path) as file:
                metadata = json.load(file)
            # A crash between the two files leaves the weights of the backup before.
            before = metadata.get("before")
            if before and self._step() == before["iterations"] != metadata["iterations"]:
                metadata = before
            self._last_saved = {name: value for name, value in metadata.items() if name != "before"}
            seeds = self._seed_variables()
            if len(seeds) == len(metadata.get("seeds", ())):
                for variable, value in zip(seeds, metadata["seeds"], strict=True):
                    variable.assign(value)
            self._current_epoch = metadata["epoch"]
            self.model._initial_epoch = self._current_epoch

    def _step(self) -> int | None:
        """How often the optimizer has been applied, which the weights' file holds too."""
        optimizer = self.model.optimizer
        return None if optimizer is None else int(optimizer.iterations)

    def _seed_variables(self) -> list[Any]:
        """The states of random layers, which are no weights, and of what draws without a seed."""
        generators = [one for layer in self.model._flatten_layers() for one in layer._seed_generators]
        return [one.state for one in (*generators, global_seed_generator())]

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
        if self.double_checkpoint and is_writer() and os.path.exists(self._weights_path):
            for path in (self._weights_path, self._metadata_path):
                copy_atomically(path, f"{path}.bkp")
        saved = {
            "epoch": self._current_epoch,
            "batch": self._schedule.last_batch or 0,
            "iterations": self._step(),
            "seeds": [variable.numpy().tolist() for variable in self._seed_variables()],
        }
        if is_writer():
            write_atomically(self._metadata_path, json.dumps({**saved, "before": self._last_saved}))
        self.model.save_weights(self._weights_path, overwrite=True)
        self._last_saved = saved

    def on_train_end(self, logs: dict | None = None) -> None:
        self._last_saved = None
        if self.delete_checkpoint and is_writer() and os.path.isdir(self.backup_dir):
            shutil.rmtree(self.backup_dir)
