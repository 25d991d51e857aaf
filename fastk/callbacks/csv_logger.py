"""`CSVLogger`: the results of every epoch, in a file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastk.callbacks.callback import Callback
from fastk.distribution.files import is_writer
from fastk.user_warning import warn_user


class CSVLogger(Callback):
    """Writes one line an epoch.

    Args:
        filename: the file.
        separator: between the values.
        append: whether to go on in an existing file, under the columns that it has, or to start it anew.
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._writer: csv.DictWriter | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._columns: list[str] | None = None
        if not is_writer():
            return
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="") as file:
                self._columns = next(csv.reader(file, delimiter=self.sep), None)
        self._close()
        self._file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115 - closed at the end

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        if self._file is None:
            return
        if self._writer is None:
            self._start(logs)
        assert self._writer is not None
        row = {name: _shown(logs.get(name, "NA")) for name in self._writer.fieldnames if name != "epoch"}
        self._writer.writerow({"epoch": epoch, **row})
        self._file.flush()

    def _start(self, logs: dict) -> None:
        columns = self._columns
        if columns is None:
            # Validation may not have run yet: its columns are there from the first line on.
            validated = self.params.get("validates") and not any(name.startswith("val_") for name in logs)
            columns = ["epoch", *sorted(logs), *([f"val_{name}" for name in sorted(logs)] if validated else [])]
        elif not logs.keys() <= set(columns):
            missing = sorted(logs.keys() - set(columns))
            warn_user(f"{self.filename}, which CSVLogger goes on with, has no columns {missing}: they are left out.")
        self._writer = csv.DictWriter(self._file, columns, delimiter=self.sep, extrasaction="ignore")
        if self._columns is None:
            self._writer.writeheader()

    def on_train_end(self, logs: dict | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None


def _shown(value: Any) -> Any:
    if isinstance(value, str) or np.ndim(value) == 0:
        return value
    return '"[{}]"'.format(", ".join(map(str, value))) if isinstance(value, Iterable) else value
