"""`History`: the results of every epoch."""

from __future__ import annotations

from typing import Any

from fastk.callbacks.callback import Callback


class History(Callback):
    """Collects the logs of each epoch; `fit` returns it.

    Attributes:
        epoch: the numbers of the epochs run.
        history: for each name of the logs, its value after each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self
