"""`LambdaCallback`: a callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastk.callbacks.callback import Callback

_EVENTS = tuple(f"on_{what}_{edge}" for what in ("epoch", "train", "train_batch") for edge in ("begin", "end"))


class LambdaCallback(Callback):
    """Calls the functions that it is given.

    Args:
        on_epoch_begin, on_epoch_end: called with `(epoch, logs)`.
        on_train_begin, on_train_end: called with `(logs)`.
        on_train_batch_begin, on_train_batch_end: called with `(batch, logs)`.
        **kwargs: any other method of `Callback`, by its name.

    >>> import fastk
    >>> fastk.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch)).on_epoch_end(2, {})
    2
    """

    def __init__(
        self,
        on_epoch_begin: Callable | None = None,
        on_epoch_end: Callable | None = None,
        on_train_begin: Callable | None = None,
        on_train_end: Callable | None = None,
        on_train_batch_begin: Callable | None = None,
        on_train_batch_end: Callable | None = None,
        **kwargs: Any,
    ):
        super().__init__()
        unknown = [name for name in kwargs if not name.startswith("on_") or not hasattr(Callback, name)]
        if unknown:
            known = [name for name in dir(Callback) if name.startswith("on_")]
            raise ValueError(f"LambdaCallback takes functions by the names {known}. Received also: {unknown}")
        given = (on_epoch_begin, on_epoch_end, on_train_begin, on_train_end, on_train_batch_begin, on_train_batch_end)
        for name, function in {**dict(zip(_EVENTS, given, strict=True)), **kwargs}.items():
            if function is not None:
                setattr(self, name, function)
