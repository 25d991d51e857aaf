"""`trace`: the ops that a model runs, found without running them.

A functional model keeps the symbolic calls that it was made of; the tracer walks through them, goes into models inside
models, and asks each layer in which ops it computes. A layer that does more than its ops (hooks, masks, a regularizer
of its outputs) or that the user wrote stays one opaque node, which says why.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fastk import dtypes, tree
from fastk.graph.function import CallGraph
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.nodes import Graph, OpNode, OpSpec, Value, by_name
from fastk.graph.operation import Node, is_fastk
from fastk.naming import to_snake_case
from fastk.tensor import get_keras_mask


class Untraceable(ValueError):
    """Why a model has no graph, as a sentence."""


def trace(model: Any, training: bool = False) -> Graph:
    """The graph of ops of a model or a `Function`.

    Args:
        model: anything with the method `_call_graph(training)`, which gives its symbolic calls or raises `Untraceable`.
        training: what the `call` of a model is told where it has to be called for its graph.

    Raises:
        Untraceable: a model whose calls cannot be known without running it; the message is the reason.

    >>> import fastk
    >>> x = fastk.Input((4,), name="x")
    >>> y = fastk.layers.Dense(2, activation="tanh", name="a")(x)
    >>> model = fastk.Model(x, fastk.layers.Add(name="sum")([y, y]), name="twice")
    >>> [node.op for node in fastk.graph.trace(model).nodes]
    ['dense', 'add']
    """
    calls = model._call_graph(training)
    tracer = _Tracer(getattr(model, "dtype_policy", None))
    inputs = [Value(x.shape, x.dtype) for x in calls.inputs]
    outputs = tracer.run(calls, inputs)
    structure = tree.pack_sequence_as(calls.outputs_struct, outputs)
    nodes, bypassed = tuple(tracer.nodes), (model, *tracer.bypassed)
    notes = tuple((node.layers, node.opaque) for node in nodes if node.opaque is not None)
    return Graph(model.name, tuple(inputs), nodes, tuple(outputs), structure, bypassed, notes)


class _Tracer:
    """Collects nodes.

    Args:
        policy: the dtype policy of the model.

    Attributes:
        bypassed: the layers whose ops stand for a call.
        unsure: the values whose dtype only running the user's code tells.
    """

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.mixed = policy is not None and policy.compute_dtype != policy.variable_dtype
        self.nodes: list[OpNode] = []
        self.bypassed: dict[Any, None] = {}
        self.unsure: set[Value] = set()

    def run(self, calls: CallGraph, inputs: list[Value]) -> list[Value]:
        """The values of the outputs of `calls` for these inputs."""
        values = {id(x): value for x, value in zip(calls.inputs, inputs, strict=True)}
        for node in calls.nodes_to_run:
            made = self._inlined(node, values) or self._called(node, values)
            values.update(zip(map(id, node.outputs), made, strict=True))
        return [values[id(x)] for x in calls.outputs]

    def _inlined(self, node: Node, values: dict[int, Value]) -> list[Value] | None:
        """The outputs of a model inside the model, where its calls can stand for it."""
        calls: CallGraph | None = node.operation._inner_calls()
        if calls is None or _masked(node) or len(node.args) != 1 or node.kwargs.keys() - {"training", "mask"}:
            return None
        if self.policy is not None and node.operation.dtype_policy != self.policy:
            return None
        given = _in_order(node.args[0], calls)
        if given is None or any(len(x.shape) != len(own.shape) for x, own in zip(given, calls.inputs, strict=True)):
            return None
        inputs = [
            self._cast(values[id(x)], own.dtype, node.operation) for x, own in zip(given, calls.inputs, strict=True)
        ]
        self.bypassed[node.operation] = None
        return self.run(calls, inputs)

    def _called(self, node: Node, values: dict[int, Value]) -> list[Value]:
        operation = node.operation
        reason = "its input has a mask" if _masked(node) else operation._why_opaque()
        outputs = [Value(x.shape, x.dtype) for x in node.outputs]
        specs = None if reason else operation._graph_ops()
        target = None if reason else operation._casts_inputs_to()

        def value_of(x: Any) -> Any:
            if not isinstance(x, KerasTensor) or id(x) not in values:
                return x
            value = values[id(x)]
            return value if target is None else self._cast(value, target, operation)

        args, kwargs = tree.map_structure(value_of, node.args), tree.map_structure(value_of, node.kwargs)
        if specs is None:
            name = to_snake_case(type(operation).__name__)
            spec = OpSpec(name, operation, weights=by_name(getattr(operation, "weights", ())))
            self.nodes.append(OpNode(spec, args, kwargs, tuple(outputs), (operation.name,), operation, reason))
            if not is_fastk(type(operation)):
                self.unsure.update(outputs)
            return outputs
        kwargs.pop("training", None)  # what the model is called with takes its place
        self.bypassed[operation] = None
        for i, spec in enumerate(specs):
            made = outputs if i == len(specs) - 1 else [Value(outputs[0].shape, outputs[0].dtype)]
            spec = dataclasses.replace(spec, call=operation._in_scope(spec.call, self.mixed))
            self.nodes.append(OpNode(spec, args, kwargs, tuple(made), (operation.name,), operation))
            args, kwargs = (made[0],), {}
        return outputs

    def _cast(self, value: Value, dtype: str, operation: Any) -> Value:
        """`value` in the dtype that a layer computes in, as its call would cast it; integers stay what they are."""
        sure = value not in self.unsure
        if not dtypes.is_float_dtype(value.dtype) or (value.dtype == dtype and sure):
            return value
        cast = Value(value.shape, dtype)
        target = dtypes.to_torch_dtype(dtype)
        spec = OpSpec("cast", lambda x: x.to(target) if x.is_floating_point() else x, shown={"dtype": dtype})
        self.nodes.append(OpNode(spec, (value,), {}, (cast,), (operation.name,), operation))
        return cast


def _masked(node: Node) -> bool:
    return any(get_keras_mask(x) is not None for x in node.input_tensors) or any(
        "mask" in name and value is not None for name, value in node.kwargs.items()
    )


def _in_order(given: Any, calls: CallGraph) -> list[KerasTensor] | None:
    """What a model inside is called with, in the order of its inputs; None where that takes more than looking."""
    if isinstance(given, dict):
        names = list(calls.inputs_struct) if isinstance(calls.inputs_struct, dict) else [x.name for x in calls.inputs]
        flat = [given.get(name) for name in names] if len(names) == len(given) else []
    else:
        flat = tree.flatten(given)
    symbolic = [x for x in flat if isinstance(x, KerasTensor)]
    return symbolic if len(symbolic) == len(flat) == len(calls.inputs) else None
