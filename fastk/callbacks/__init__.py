"""Callbacks (`keras.callbacks`)."""

from fastk.callbacks.callback import Callback
from fastk.callbacks.callback_list import CallbackList
from fastk.callbacks.history import History
from fastk.callbacks.progbar_logger import ProgbarLogger

__all__ = ["Callback", "CallbackList", "History", "ProgbarLogger"]
