"""Keras's list of callbacks, which asks for results only where a callback looks at them."""

from __future__ import annotations

import functools
import time
from typing import Any

_HOOKS = {"train": ("on_train_batch_{}", "on_batch_{}"), "test": ("on_test_batch_{}",),
          "predict": ("on_predict_batch_{}",)}  # fmt: skip


@functools.cache
def callback_list_class() -> type:
    """The class; Keras is imported when it is asked for."""
    from keras.callbacks import CallbackList, ProgbarLogger
    from keras.src.utils import is_default
    from keras.src.utils.python_utils import pythonify_logs

    class LazyCallbackList(CallbackList):
        """Calls callbacks in the thread of the loop, and those without a method for batches not for batches.

        Args:
            acceleration: the model's, which is told when code of the user's has run.
            callbacks, options: as of `CallbackList`.
        """

        def __init__(self, acceleration: Any, callbacks: Any, **options: Any):
            super().__init__(callbacks, **options)
            self._acceleration = acceleration
            self._async_train = self._async_test = self._async_predict = False
            self._bars = [c for c in self.callbacks if type(c) is ProgbarLogger]
            others = [c for c in self.callbacks if type(c) is not ProgbarLogger]
            self._followers = {
                (mode, when): [c for c in others if not all(is_default(getattr(c, h.format(when))) for h in hooks)]
                for mode, hooks in _HOOKS.items()
                for when in ("begin", "end")
            }

        def _begin(self, mode: str, batch: int, logs: Any) -> None:
            followers = self._followers[mode, "begin"]
            for callback in followers:
                getattr(callback, f"on_{mode}_batch_begin")(batch, logs=pythonify_logs(logs))
            if followers:
                self._acceleration.look_again()

        def _end(self, mode: str, batch: int, logs: Any) -> None:
            followers = self._followers[mode, "end"]
            bars = [bar for bar in self._bars if _is_due(bar, mode, batch)]
            if not followers and not bars:
                return
            logs = pythonify_logs(logs if mode == "predict" else self._acceleration.results(logs))
            for callback in (*followers, *bars):
                getattr(callback, f"on_{mode}_batch_end")(batch, logs=logs)
            if followers:
                self._acceleration.look_again()

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._begin("train", batch, logs)

        def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._begin("test", batch, logs)

        def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._begin("predict", batch, logs)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._end("train", batch, logs)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self._end("test", batch, logs)

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self._end("predict", batch, logs)

    for name in ("on_train_begin", "on_epoch_begin", "on_test_begin", "on_predict_begin"):
        setattr(LazyCallbackList, name, _looking_again(getattr(CallbackList, name)))
    return LazyCallbackList


def _looking_again(method: Any) -> Any:
    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> None:
        method(self, *args, **kwargs)
        self._acceleration.look_again()  # a callback may have changed the model

    return called


def _is_due(bar: Any, mode: str, batch: int) -> bool:
    """Whether a progress bar would draw now; between its times it is told no more than the batch's number."""
    if mode == "test" and bar._called_in_fit:
        return False
    bar._maybe_init_progbar()
    bar.seen = batch + 1
    return bar.verbose == 1 and time.time() - bar.progbar._last_update >= bar.progbar.interval
