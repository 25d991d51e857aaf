"""What a recorded step of a model of Keras's depends on, to be compared: it is recorded anew where that has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype)
# Attributes that say nothing of what a step computes, or that each step and each `fit` sets.
_PASSING = frozenset({
    "built", "training", "_called", "stop_training", "stop_evaluating", "stop_predicting", "_initial_epoch",
    "_jit_compile", "_is_full_backward_hook", "train_function", "test_function", "predict_function", "history",
    "_eval_epoch_iterator", "make_train_function", "make_test_function", "make_predict_function", "fit", "evaluate",
    "predict", "_accelerated_by_fastk", "_compile_config", "_compiled_trainable_state", "_auto_config",
    "metrics_names", "_lock",
})  # fmt: skip


class State:
    """What was found at one time; two of the same model are equal where a step would do the same.

    Args:
        keras: the module.
        model: the model.
    """

    __slots__ = ("_objects", "_values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, keras: Any, model: Any):
        self._objects: list[Any] = []
        self._values: list[Any] = [
            keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
            keras.config.is_flash_attention_enabled(), torch.get_default_dtype(),
        ]  # fmt: skip
        for layer in model._flatten_layers():
            self._note(layer)
            self._note_variables(layer)
        optimizer = model.optimizer
        while optimizer is not None:
            self._note(optimizer)
            self._objects += [v._value for v in optimizer.variables]
            optimizer = getattr(optimizer, "inner_optimizer", None)
        self._objects += [model._compile_loss, model._compile_metrics, model._loss_tracker]
        for one in losses_and_metrics(model):
            self._note(one)

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, State)
            and len(self._objects) == len(other._objects)
            and all(a is b for a, b in zip(self._objects, other._objects, strict=True))
            and self._values == other._values
        )

    def _note(self, x: Any) -> None:
        """The plain attributes of an object, and which objects its public ones are."""
        self._objects += (x, type(x))
        for name, value in vars(x).items():
            if name in _PASSING:
                continue
            if isinstance(value, _PLAIN):
                self._values.append((name, value))
            elif name[0] != "_":
                self._note_value(name, value)
        self._objects.append(getattr(x, "_dtype_policy", None))

    def _note_value(self, name: str, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            self._values.append((name, len(value), *(x for x in value if isinstance(x, _PLAIN))))
            self._objects += [x for x in value if not isinstance(x, _PLAIN)]
        elif isinstance(value, dict):
            self._values.append((name, len(value)))
            self._objects += value.values()
        else:
            self._objects.append(value)

    def _note_variables(self, layer: Any) -> None:
        self._values.append(layer.trainable)
        for v in (*layer._trainable_variables, *layer._non_trainable_variables):
            self._objects += (v, v._value, v.regularizer, v.constraint)
            self._values.append(v.trainable)


def losses_and_metrics(model: Any) -> list[Any]:
    """The loss and metric objects of a compiled model."""
    found: list[Any] = []
    for compiled in (model._compile_loss, model._compile_metrics):
        for name in ("_user_loss", "_user_metrics", "_user_weighted_metrics"):
            found += _leaves(getattr(compiled, name, None))
    return found


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        for one in x:
            yield from _leaves(one)
    elif hasattr(x, "__dict__"):
        yield x


def users_own(model: Any) -> list[Any]:
    """The layers, losses and metrics whose code is not Keras's: what they do may depend on what nobody sees."""
    every = [*model._flatten_layers(), *losses_and_metrics(model)]
    metrics = [] if model._compile_metrics is None else list(model._compile_metrics.metrics)
    own = [x for x in (*every, *metrics, model.optimizer) if x is not None and not is_keras(x)]
    return own + [x for x in every if is_keras(x) and _runs_users_code(x)]


def is_keras(x: Any) -> bool:
    """Whether an object, or a function, is Keras's own."""
    return (getattr(x, "__module__", None) or type(x).__module__).startswith("keras.src.")


def _runs_users_code(x: Any) -> bool:
    values = vars(x).values()
    return any(callable(value) and _module(value) == "" for value in values)


def _module(x: Any) -> str:
    """The top package of a callable that is Keras's, torch's or Python's; empty for the user's."""
    top = (getattr(x, "__module__", None) or type(x).__module__ or "").split(".")[0]
    return top if top in ("keras", "torch", "builtins", "functools", "numpy", "fastk", "inspect", "abc") else ""
