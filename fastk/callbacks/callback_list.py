"""`CallbackList`: several callbacks called as one.

A batch method reaches only those that override it. The logs of a batch may be given as a function that computes them:
it is called once, and only when a callback looks at them; a `ProgbarLogger` calls it itself, when it draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fastk import tree
from fastk.callbacks.callback import Callback
from fastk.callbacks.history import History
from fastk.callbacks.logs import LazyLogs
from fastk.callbacks.progbar_logger import ProgbarLogger

Logs = dict[str, Any] | Callable[[], dict[str, Any]] | None

# The batch methods, with the older name that a callback may have overridden instead.
_BATCH_METHODS = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
    "on_test_batch_begin": None,
    "on_test_batch_end": None,
    "on_predict_batch_begin": None,
    "on_predict_batch_end": None,
}


class CallbackList(Callback):
    """Hands each call on to `callbacks`, in their order.

    Args:
        callbacks: a callback or a list of them; None for none.
        add_history: whether a `History` is added where there is none.
        add_progbar: whether a `ProgbarLogger` is added where there is none.
        model: the model that is trained.
        params: `verbose`, `epochs`, `steps`.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ):
        super().__init__()
        self.callbacks: list[Callback] = [c for c in tree.flatten(callbacks) if c is not None] if callbacks else []
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise ValueError(
                    f"`callbacks` takes `keras.callbacks.Callback` objects. Received: {callback!r} (of type "
                    f"{type(callback)})"
                )
        if add_history and not any(isinstance(c, History) for c in self.callbacks):
            self.callbacks.append(History())
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._find_batch_methods()
        self.set_params(params)
        if model is not None:
            self.set_model(model)

    def _find_batch_methods(self) -> None:
        """For each batch method, those of the callbacks that do something; one that draws takes logs as they come."""
        self._with: dict[str, list[tuple[Callable, bool]]] = {}
        for method, older in _BATCH_METHODS.items():
            self._with[method] = [
                (getattr(callback, method), isinstance(callback, ProgbarLogger))
                for callback in self.callbacks
                if _has_own(callback, method) or (older is not None and _has_own(callback, older))
            ]

    def follows_batches(self, mode: str) -> bool:
        """Whether a callback, other than one that draws a progress bar, is called at each batch.

        Args:
            mode: "train", "test" or "predict".
        """
        methods = (f"on_{mode}_batch_begin", f"on_{mode}_batch_end")
        return any(not draws for method in methods for _, draws in self._with[method])

    def append(self, callback: Callback) -> None:
        """Adds a callback."""
        self.callbacks.append(callback)
        self._find_batch_methods()

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            if isinstance(callback, History):
                model.history = callback
            callback.set_model(model)

    def _batch(self, method: str, batch: int, logs: Logs) -> None:
        lazy: LazyLogs | None = None
        for call, draws in self._with[method]:
            if not callable(logs):
                call(batch, {} if logs is None else logs)
            elif draws:
                call(batch, getattr(logs, "finished", logs))
            else:
                lazy = lazy or LazyLogs(logs)
                call(batch, lazy)
        if lazy is not None and sys.getrefcount(lazy) > 2:  # a callback has kept them: they must stay this batch's
            lazy.read()

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._each("on_batch_begin", batch, logs)

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._each("on_batch_end", batch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_train_batch_end", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_test_batch_end", batch, logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch("on_predict_batch_end", batch, logs)

    def _each(self, method: str, *args: Any) -> None:
        *first, logs = args
        for callback in self.callbacks:
            getattr(callback, method)(*first, {} if logs is None else logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._each("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._each("on_epoch_end", epoch, logs)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._each("on_train_begin", logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._each("on_train_end", logs)

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._each("on_test_begin", logs)

    def on_test_end(self, logs: dict | None = None) -> None:
        self._each("on_test_end", logs)

    def on_predict_begin(self, logs: dict | None = None) -> None:
        self._each("on_predict_begin", logs)

    def on_predict_end(self, logs: dict | None = None) -> None:
        self._each("on_predict_end", logs)


def _has_own(callback: Callback, method: str) -> bool:
    return method in callback.__dict__ or getattr(type(callback), method) is not getattr(Callback, method)
