"""What a recorded step of a model of Keras's depends on, to be compared: it is recorded anew where that has changed."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch

# Attributes that say nothing of what a step computes, or that each step and each `fit` sets.
_PASSING = frozenset({
    "built", "training", "_called", "stop_training", "stop_evaluating", "stop_predicting", "_initial_epoch",
    "_jit_compile", "_is_full_backward_hook", "train_function", "test_function", "predict_function", "history",
    "_eval_epoch_iterator", "make_train_function", "make_test_function", "make_predict_function", "fit", "evaluate",
    "predict", "_accelerated_by_fastk", "_compile_config", "_compiled_trainable_state", "_auto_config", "_lock",
    "_losses_override", "_exclude_from_weight_decay_cache", "_inbound_nodes", "_outbound_nodes", "_path",
    "_parent_path",
})  # fmt: skip


class State:
    """What was found at one time: the attributes of what a step uses, and the tensors of the variables.

    Args:
        keras: the module.
        model: the model.
    """

    def __init__(self, keras: Any, model: Any):
        self._keras, self._model = keras, model
        self._objects = self._used()
        self._attributes = [dict(vars(x)) for x in self._objects]
        self._own = [i for i, x in enumerate(self._objects) if not is_keras(x)]
        self._theirs = [i for i, x in enumerate(self._objects) if is_keras(x)]
        self._values = self._read()

    def holds(self) -> bool:
        """Whether a step would still do the same, as far as Keras's own code is concerned.

        What lists and dicts hold is not compared: Keras's own layers do not change theirs.
        """
        objects = self._used()
        if len(objects) != len(self._objects) or not all(map(operator.is_, objects, self._objects)):
            return False
        if not all(map(self._is_unchanged, self._theirs)):
            return False
        values = self._read()
        return len(values) == len(self._values) and all(map(_is_same, values, self._values))

    def own_holds(self) -> bool:
        """Whether the attributes of what is the user's own are as they were when this was last asked."""
        changed = [i for i in self._own if not self._is_unchanged(i)]
        for i in changed:
            self._attributes[i] = dict(vars(self._objects[i]))
        return not changed

    def _used(self) -> list[Any]:
        """The objects whose attributes decide what a step does."""
        model, found = self._model, []
        optimizer = getattr(model, "optimizer", None)
        while optimizer is not None:
            found.append(optimizer)
            optimizer = getattr(optimizer, "inner_optimizer", None)
        compiled = (model._compile_loss, model._compile_metrics, model._loss_tracker)
        return [*model._flatten_layers(), *found, *losses_and_metrics(model), *filter(None, compiled)]

    def _is_unchanged(self, i: int) -> bool:
        now, before = vars(self._objects[i]), self._attributes[i]
        try:
            if now == before:
                return True
        except (RuntimeError, ValueError, TypeError):
            pass  # tensors are no truth values: one has taken the place of another
        names = (now.keys() | before.keys()) - _PASSING
        if all(_is_same(now.get(name, before), before.get(name, now)) for name in names):
            self._attributes[i] = dict(now)
            return True
        return False

    def _read(self) -> list[Any]:
        """What is no attribute: settings, and of the variables the tensors and what training asks of them."""
        config, values = self._keras.config, []
        values += (config.floatx(), config.epsilon(), config.image_data_format(), torch.get_default_dtype())
        values += (config.is_flash_attention_enabled(), config.dtype_policy().name)
        for layer in self._model._flatten_layers():
            values.append(layer._trainable)
            for v in (*layer._trainable_variables, *layer._non_trainable_variables):
                values += (v, v._value, bool(v._value._backward_hooks), v._trainable, v._regularizer, v._constraint)
        optimizer = getattr(self._model, "optimizer", None)  # which only `compile` sets
        if optimizer is not None:
            values += [v._value for v in optimizer.variables]
        return values


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)


_PLAIN = (bool, int, float, str, bytes)


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
    own = [x for x in (*every, *metrics, getattr(model, "optimizer", None)) if x is not None and not is_keras(x)]
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
