"""Optimizers: what turns gradients into steps."""

from __future__ import annotations

from typing import Any

from fastk import serialization
from fastk.errors import missing_name
from fastk.optimizers import legacy, schedules
from fastk.optimizers.adadelta import Adadelta
from fastk.optimizers.adafactor import Adafactor
from fastk.optimizers.adagrad import Adagrad
from fastk.optimizers.adam import Adam
from fastk.optimizers.adamax import Adamax
from fastk.optimizers.adamw import AdamW
from fastk.optimizers.base import Optimizer
from fastk.optimizers.ftrl import Ftrl
from fastk.optimizers.lamb import Lamb
from fastk.optimizers.lion import Lion
from fastk.optimizers.loss_scale_optimizer import LossScaleOptimizer
from fastk.optimizers.multi_optimizer import MultiOptimizer, OptimizerMap
from fastk.optimizers.muon import Muon
from fastk.optimizers.nadam import Nadam
from fastk.optimizers.rmsprop import RMSprop
from fastk.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from fastk.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "legacy",
    "schedules",
    "serialize",
]

_classes = [value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Optimizer)]
_registry = serialization.Registry("optimizer", _classes, aliases={cls.__name__.lower(): cls for cls in _classes})


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The configuration of an optimizer, without its state.

    >>> import fastk
    >>> serialize(fastk.optimizers.Adam())["config"]["learning_rate"]
    0.0010000000474974513
    """
    return _registry.serialize(optimizer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer that `serialize` described; names of the built-in ones are taken in any case."""
    name = config.get("class_name")
    if isinstance(name, str) and name.lower() in _registry.objects:
        config = {**config, "class_name": name.lower()}
    return _registry.deserialize(config, custom_objects)


def get(identifier: Any) -> Optimizer | None:
    """The optimizer that a name, a configuration, or an optimizer means; None stays None.

    Raises:
        ValueError: it means none.

    >>> type(get("adam")).__name__
    'Adam'
    """
    if isinstance(identifier, str):
        found = _registry.get(identifier.lower() if identifier.lower() in _registry.objects else identifier)
    else:
        found = deserialize(identifier) if isinstance(identifier, dict) else identifier
    if found is None or isinstance(found, Optimizer):
        return found
    raise ValueError(
        f"Could not interpret optimizer identifier: {identifier!r} (of type {type(identifier)}). Expected a name such "
        "as 'adam', a configuration, or an instance of `keras.optimizers.Optimizer`."
    )


def __getattr__(name: str) -> Any:
    raise missing_name("keras.optimizers", name, __all__)
