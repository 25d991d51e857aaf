"""Callbacks (`keras.callbacks`)."""

from typing import Any

from fastk.callbacks.backup_and_restore import BackupAndRestore
from fastk.callbacks.callback import Callback
from fastk.callbacks.callback_list import CallbackList
from fastk.callbacks.csv_logger import CSVLogger
from fastk.callbacks.early_stopping import EarlyStopping
from fastk.callbacks.history import History
from fastk.callbacks.lambda_callback import LambdaCallback
from fastk.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastk.callbacks.model_checkpoint import ModelCheckpoint
from fastk.callbacks.monitor_callback import MonitorCallback
from fastk.callbacks.progbar_logger import ProgbarLogger
from fastk.callbacks.remote_monitor import RemoteMonitor
from fastk.callbacks.swap_ema_weights import SwapEMAWeights
from fastk.callbacks.tensorboard import TensorBoard
from fastk.callbacks.terminate_on_nan import TerminateOnNaN
from fastk.errors import missing_name

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]


def __getattr__(name: str) -> Any:
    raise missing_name("keras.callbacks", name, __all__)
