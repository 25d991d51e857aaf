"""`ProgbarLogger`: shows how far training is, and its results so far."""

from __future__ import annotations

from typing import Any

from fastk.callbacks.callback import Callback
from fastk.messages import tell
from fastk.utils.progbar import Progbar


class ProgbarLogger(Callback):
    """A progress bar for each epoch of `fit`, and for `evaluate` and `predict`.

    With `verbose=1` a bar, with `verbose=2` one line an epoch. Results are read from the device when the bar is drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progbar | None = None
        self._in_fit = False
        self._done = 0

    @property
    def _verbose(self) -> int:
        verbose = self.params.get("verbose", 1)
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2. Received: {verbose!r}")
        return 1 if verbose == "auto" else int(verbose)

    def _start(self) -> None:
        self._done = 0
        self._bar = None
        if self._verbose:
            self._bar = Progbar(self.params.get("steps"), verbose=self._verbose, stateless_metrics=())

    def _advance(self, batch: int, logs: Any) -> None:
        self._done = batch + 1
        if self._bar is not None:
            self._bar.update(self._done, logs, finalize=False)

    def _finish(self, logs: dict | None) -> None:
        if self._bar is not None:
            self._bar.target = self._done
            self._bar.update(self._done, logs or {}, finalize=True)
        self._bar = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: dict | None = None) -> None:
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start()
        if self._verbose and (self.params.get("epochs") or 1) > 1:
            tell(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._finish(logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._advance(batch, logs)

    def on_test_begin(self, logs: dict | None = None) -> None:
        if not self._in_fit:
            self._start()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._in_fit:
            self._advance(batch, logs)

    def on_test_end(self, logs: dict | None = None) -> None:
        if not self._in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs: dict | None = None) -> None:
        self._start()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._advance(batch, None)

    def on_predict_end(self, logs: dict | None = None) -> None:
        self._finish(None)
