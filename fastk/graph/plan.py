"""`Plan`: a fused graph as a flat list of calls, with everything looked up that can be.

A call of a plan does what a call of the model would do, without its bookkeeping: no masks to collect, no inputs to
convert or check, no scopes, since the graph says that there is nothing to do there. Weights are read when they are
used. A plan keeps no tensors from one call to the next.

>>> import fastk
>>> model = fastk.Sequential([fastk.Input((4,)), fastk.layers.Dense(8, name="dense"), fastk.layers.ReLU(name="relu")])
>>> print(model.plan().inference)
0 -> 1  dense + relu
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

from torch.nn.modules import module as torch_module

from fastk import tree
from fastk.graph.fuse import fuse
from fastk.graph.nodes import Graph, OpNode, Value

# Hooks that torch calls for every module.
GLOBAL_HOOKS = tuple(
    table for name, table in vars(torch_module).items() if name.startswith("_global_") and name.endswith("_hooks")
)


class _Age:
    """How often something that a plan was made from has changed, anywhere."""

    number = 0


_age = _Age()


def forget_plans() -> None:
    """Has every model make its plan anew before its next step."""
    _age.number += 1


def age() -> int:
    """A number that grows with `forget_plans`: equal numbers, equal plans."""
    return _age.number


class Calls:
    """A fused graph as calls over numbered slots.

    Args:
        graph: from `fuse`.
        training: what the calls are told.

    Attributes:
        steps: (function, slot or slots that it takes, slot or slots that it fills, slots that are done with).
    """

    def __init__(self, graph: Graph, training: bool):
        self.graph = graph
        slots = graph.numbers()
        last_use = {value: node for node in graph.nodes for value in node.inputs}
        kept = set(graph.outputs)
        self.steps: list[tuple[Callable[..., Any], Any, Any, tuple[int, ...]]] = []
        for node in graph.nodes:
            function, taken = _resolved(node, training)
            sources = tuple(slots[x] for x in taken)
            targets = tuple(slots[x] for x in node.outputs)
            values = dict.fromkeys([*taken, *node.outputs])
            done = tuple(slots[x] for x in values if x not in kept and last_use.get(x, node) is node)
            self.steps.append((function, sources if len(sources) != 1 else sources[0], _one(targets), done))
        self._empty = [None] * (len(slots) - len(graph.inputs))
        structure = graph.structure
        if isinstance(structure, (list, tuple)) and len(structure) == 1:
            structure = structure[0]
        self._output = slots[structure] if isinstance(structure, Value) else None
        self._structure = tree.map_structure(lambda x: slots[x], structure)

    def __call__(self, inputs: list[Any]) -> Any:
        """The outputs, in their structure, for the inputs, flat."""
        values = [*inputs, *self._empty]
        for function, sources, targets, done in self.steps:
            result = function(values[sources]) if sources.__class__ is int else function(*[values[i] for i in sources])
            if targets.__class__ is int:
                values[targets] = result
            else:
                for i, one in zip(targets, result, strict=True):
                    values[i] = one
            for i in done:
                values[i] = None
        if self._output is not None:
            return values[self._output]
        return tree.map_structure(values.__getitem__, self._structure)

    def __str__(self) -> str:
        lines = []
        for (_, sources, targets, _), node in zip(self.steps, self.graph.nodes, strict=True):
            taken, made = (" ".join(map(str, (x,) if isinstance(x, int) else x)) for x in (sources, targets))
            lines.append(f"{taken} -> {made}  {' + '.join(node.layers)}")
        return "\n".join(lines)


class Plan:
    """What a model does, for training and for inference.

    Args:
        graph: the model's graph, from `trace`.
        device_type: where it runs.

    Attributes:
        training, inference: the calls.
        inputs: the graph's inputs.
        hooks: torch's tables of hooks of the layers that are not called as such: while one is not empty, the plan
            does not do what the model does.
    """

    def __init__(self, graph: Graph, device_type: str = "cpu"):
        self.inputs = graph.inputs
        self.device_type = device_type
        self._graph = graph
        tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        of_layers = (getattr(layer, name, None) for layer, name in itertools.product(graph.bypassed, tables))
        self.hooks = (*GLOBAL_HOOKS, *(table for table in of_layers if table is not None))

    @functools.cached_property
    def training(self) -> Calls:
        """The calls of a training step."""
        return self._fused(True)

    @functools.cached_property
    def inference(self) -> Calls:
        """The calls of `evaluate` and `predict`."""
        return self._fused(False)

    def _fused(self, training: bool) -> Calls:
        return Calls(fuse(self._graph, training, self.device_type), training)

    def __call__(self, inputs: list[Any], training: bool) -> Any:
        """The model's outputs.

        Args:
            inputs: tensors of the shapes and dtypes of the graph's inputs, flat.
            training: whether they are for training.
        """
        return (self.training if training else self.inference)(inputs)


def _one(slots: tuple[int, ...]) -> Any:
    return slots[0] if len(slots) == 1 else slots


def _resolved(node: OpNode, training: bool) -> tuple[Callable[..., Any], list[Value]]:
    """A function of tensors alone that does what a node does, and the values that it takes, in order."""
    function = node.spec.call
    options: dict[str, Any] = {name: x for name, x in node.attributes.items() if x is not None}
    if node.spec.takes_training:
        options["training"] = training
    taken = node.inputs
    if not _holds_values(node.kwargs):
        options |= node.kwargs
        if list(node.args) == taken:
            function = functools.partial(function, **options) if options else function
        elif len(node.args) == 1 and isinstance(node.args[0], list) and node.args[0] == taken:
            function = _of_list(function, options)
        else:
            function = _of_structure(function, node.args, {}, options)
    else:
        function = _of_structure(function, node.args, node.kwargs, options)
    return _in_form(function, len(node.outputs)), taken


def _holds_values(structure: Any) -> bool:
    return any(isinstance(x, Value) for x in tree.flatten(structure))


def _of_list(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    return lambda *tensors: function(list(tensors), **options)


def _of_structure(function: Callable[..., Any], args: tuple, kwargs: dict, options: dict) -> Callable[..., Any]:
    def call(*tensors: Any) -> Any:
        left = iter(tensors)

        def filled(x: Any) -> Any:
            return next(left) if isinstance(x, Value) else x

        given = tree.map_structure(filled, args)
        return function(*given, **tree.map_structure(filled, kwargs), **options)

    return call


def _in_form(function: Callable[..., Any], outputs: int) -> Callable[..., Any]:
    """`function` returning one tensor, or a flat sequence of as many as the graph has outputs of it."""

    def call(*tensors: Any) -> Any:
        result = function(*tensors)
        if isinstance(result, (list, tuple, dict)):
            flat = tree.flatten(result)
            return flat[0] if outputs == 1 else flat
        return result if outputs == 1 else [result]

    own = getattr(function, "func", function)
    # What fastk's ops and layers of one output return is a tensor.
    return function if outputs == 1 and getattr(own, "__module__", "").startswith("fastk.") else call
