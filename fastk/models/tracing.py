"""The symbolic calls that a model is made of: kept by functional models, found by a symbolic call of other ones."""

from __future__ import annotations

import inspect
from typing import Any

from fastk import tree
from fastk.graph import KerasTensor, Untraceable
from fastk.graph.function import CallGraph, call_graph
from fastk.graph.operation import passing_calls
from fastk.layers.call_spec import CallContext, current
from fastk.scopes import StatelessScope
from fastk.variable import standardize_shape


def calls_of(model: Any, training: bool) -> CallGraph:
    """The calls that a model's own `call` makes, found by running it on KerasTensors.

    The layers keep no trace of it, variables keep their values, and so do the lists of losses. What Python code does
    beside that (printing, counting) it does once.

    Raises:
        Untraceable: the model is not built, or its `call` asks for values.
    """
    shapes = getattr(model, "_build_shapes", None)
    if not model.built or not shapes:
        raise Untraceable("it is not built: call it on data, or `build()` it with the shape of its inputs")
    inputs = {
        name: tree.map_shape_structure(lambda shape: _any_batch(shape, model.input_dtype), shape)
        for name, shape in shapes.items()
    }
    given = list(inputs.values())
    arguments: Any = given if len(given) > 1 else _positional(model, given[0])
    context = CallContext(model)
    context.values["training"] = training
    losses = {id(layer): (layer, list(layer._losses)) for layer in model._flatten_layers()}
    before, current.context = current.context, context
    try:
        with StatelessScope(), passing_calls():
            outputs = model.call(*arguments, **({"training": training} if model._call_has_training else {}))
            return call_graph(tree.flatten(arguments), outputs)
    except Exception as error:  # whatever the user's code raises where it finds no values is the reason
        said = [type(error).__name__, *str(error).splitlines()[:1]]
        raise Untraceable(f"its `call()` does not run on symbolic tensors: {': '.join(said)}") from error
    finally:
        current.context = before
        for layer, values in losses.values():
            layer._losses[:] = values


def _any_batch(shape: Any, dtype: str) -> KerasTensor:
    return KerasTensor((None, *standardize_shape(shape)[1:]), dtype=dtype)


def _positional(model: Any, given: Any) -> list[Any]:
    """The arguments of `call` for one structure of inputs, as `Model.build` passes them."""
    required = [p for p in inspect.signature(model.call).parameters.values() if p.default is p.empty]
    return list(given) if isinstance(given, (list, tuple)) and len(required) > 1 else [given]
