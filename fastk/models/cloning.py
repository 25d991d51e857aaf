"""`clone_model`: a model of the same architecture with new weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastk import serialization, tree
from fastk.graph import KerasTensor
from fastk.layers.core.input_layer import Input, InputLayer
from fastk.layers.layer import Layer
from fastk.models.functional import Functional, takes_functional_arguments
from fastk.models.sequential import Sequential


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    _cloned: dict[int, Any] | None = None,
) -> Any:
    """A model like `model`, of new layers with new weights.

    Args:
        model: a Sequential, functional, or subclassed model (the last by its configuration alone).
        input_tensors: KerasTensors to build the clone on, in the structure of the model's inputs.
        clone_function: makes a layer's clone; by default from its configuration.
        call_function: calls a cloned layer, in place of `layer(*args, **kwargs)`; functional models only.
        recursive: whether the layers inside nested models are cloned by `clone_function` too.

    >>> import fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
    >>> fastk.models.clone_model(model).count_params()
    4
    """
    cloned = {} if _cloned is None else _cloned

    def clone(layer: Any) -> Any:
        """The clone of `layer`: one, however often the layer is met."""
        if id(layer) not in cloned:
            if recursive and isinstance(layer, (Sequential, Functional)):
                call = call_function if isinstance(layer, Functional) else None
                cloned[id(layer)] = clone_model(layer, None, clone_function, call, True, cloned)
            elif clone_function is not None:
                cloned[id(layer)] = clone_function(layer)
            else:
                cloned[id(layer)] = type(layer).from_config(layer.get_config())
        return cloned[id(layer)]

    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError(
                "`call_function` argument is not supported with Sequential models: their layers are listed, not "
                f"called, when the model is made. Received model of type '{type(model).__name__}', with "
                f"call_function={call_function}"
            )
        return _clone_sequential(model, clone, input_tensors)
    if isinstance(model, Functional):
        custom = type(model).get_config is not Functional.get_config
        if not custom or clone_function is not None or input_tensors is not None:
            return _clone_functional(model, clone, input_tensors, call_function)
    for name, value in (
        ("clone_function", clone_function), ("input_tensors", input_tensors), ("call_function", call_function),
    ):  # fmt: skip
        if value is not None:
            raise ValueError(
                f"Argument `{name}` is only supported for Sequential or Functional models. Received model of type "
                f"'{type(model).__name__}', with {name}={value}"
            )
    config = serialization.serialize_keras_object(model)
    return serialization.deserialize_keras_object(config, custom_objects={type(model).__name__: type(model)})


def _clone_sequential(model: Sequential, clone: Callable[[Any], Any], input_tensors: Any) -> Sequential:
    layers = [clone(layer) for layer in model.layers]
    first = model._layers[0] if model._layers else None
    declared = first if isinstance(first, InputLayer) else None
    name = None if declared is None else declared.name
    if input_tensors is not None:
        flat = tree.flatten(input_tensors)
        if len(flat) != 1:
            raise ValueError(f"Argument `input_tensors` must contain a single tensor. Received: {input_tensors}")
        if not isinstance(flat[0], KerasTensor):
            raise ValueError(f"Argument `input_tensors` must be a KerasTensor. Received invalid value: {flat[0]}")
        layers.insert(0, Input(tensor=flat[0], name=name))
    elif declared is not None:
        layers.insert(
            0, Input(batch_shape=declared.batch_shape, dtype=declared.dtype, name=name, optional=declared.optional)
        )
    result = Sequential(layers, name=model.name, trainable=model.trainable)
    _compile_like(result, model)
    return result


def _clone_functional(
    model: Functional, clone: Callable[[Any], Any], input_tensors: Any, call_function: Callable | None
) -> Any:
    own = model.input
    if input_tensors is None:
        input_tensors = tree.map_structure(
            lambda x: Input(batch_shape=x.shape, dtype=x.dtype, name=x.name, optional=_is_optional(x)), own
        )
    else:
        if not all(isinstance(x, KerasTensor) for x in tree.flatten(input_tensors)):
            raise ValueError(
                f"All entries in `input_tensors` must be KerasTensors. Received invalid values: {input_tensors}"
            )
        try:
            tree.assert_same_structure(input_tensors, own)
        except ValueError as error:
            raise ValueError(
                f"`input_tensors` must have the same structure as model.input\nReference structure: {own}\n"
                f"Received structure: {input_tensors}"
            ) from error

    def operation(original: Any) -> Callable:
        copy = clone(original) if isinstance(original, Layer) else type(original).from_config(original.get_config())
        return copy if call_function is None else functools.partial(call_function, copy)

    outputs = model._graph.run(tree.flatten(input_tensors), operation)
    cls: type = type(model) if takes_functional_arguments(type(model)) else Functional
    result = cls(input_tensors, outputs, name=model.name)
    object.__setattr__(result, "_trainable", model.trainable)  # its layers have their own, from their configurations
    _compile_like(result, model)
    return result


def _is_optional(x: KerasTensor) -> bool:
    layer = x._keras_history.operation
    return isinstance(layer, InputLayer) and layer.optional


def _compile_like(clone: Any, model: Any) -> None:
    if model.compiled:
        clone.compile_from_config(model.get_compile_config())
