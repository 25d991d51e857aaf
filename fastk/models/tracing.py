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
    if not model.built:
        raise Untraceable("it is not built: call it on data, or `build()` it with the shape of its inputs")
    if not shapes:
        raise Untraceable("the shape of its inputs is not known: its `call()` asked for values when it was built")
    context = CallContext(model)
    context.values["training"] = training
    losses = [(layer, list(layer._losses)) for layer in model._flatten_layers()]
    before, current.context = current.context, context
    try:
        with StatelessScope(), passing_calls():
            arguments = _symbolic_arguments(model, list(shapes.values()))
            outputs = model.call(*arguments, **({"training": training} if model._call_has_training else {}))
            return call_graph(arguments, outputs)
    except Exception as error:  # whatever the user's code raises where it finds no values is the reason
        said = [type(error).__name__, *str(error).splitlines()[:1]]
        raise Untraceable(f"its `call()` does not run on symbolic tensors: {': '.join(said)}") from error
    finally:
        current.context = before
        for layer, values in losses:
            layer._losses[:] = values


def _symbolic_arguments(model: Any, shapes: list[Any]) -> list[Any]:
    """The arguments of `call` for the shapes that the model was built for, passed as `Model.build` passes them."""
    given = [tree.map_shape_structure(lambda shape: _any_batch(shape, model.input_dtype), one) for one in shapes]
    if len(given) > 1 or not isinstance(given[0], (list, tuple)):
        return given
    required = [p for p in inspect.signature(model.call).parameters.values() if p.default is p.empty]
    return list(given[0]) if len(required) > 1 else given


def _any_batch(shape: Any, dtype: str) -> KerasTensor:
    return KerasTensor((None, *standardize_shape(shape)[1:]), dtype=dtype)
