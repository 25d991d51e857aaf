"""The nodes between some symbolic tensors and others, in the order in which they can run.

The order of `operations` is Keras's (deepest first, then by traversal): the layout of weights in a file follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.operation import Node


@dataclass(frozen=True)
class Topology:
    """`nodes`, each after those it depends on, and the distinct `operations` that they call."""

    nodes: list[Node]
    operations: list[Any]


def nodes_between(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> list[Node]:
    """The nodes that `outputs` depend on, back to `inputs`, in depth-first order, dependencies first."""
    return _traverse(inputs, outputs)[0]


def _traverse(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> tuple[list[Node], dict[Any, int]]:
    starts = {id(x) for x in inputs}
    finished: set[Node] = set()
    in_progress: set[Node] = set()
    ordered: list[Node] = []
    operation_index: dict[Any, int] = {}
    # An explicit stack: graphs are deeper than Python's recursion limit. An entry is (tensor, its node's inputs left).
    for output in outputs:
        stack: list[tuple[Node, list[KerasTensor]]] = []

        def open_node(tensor: KerasTensor, stack: list = stack) -> None:
            history = getattr(tensor, "_keras_history", None)
            if history is None or history.operation is None:
                return
            node = history.operation._inbound_nodes[history.node_index]
            if node in finished:
                return
            if not node.is_input and id(tensor) in starts:
                finished.add(node)
                return
            if node in in_progress:
                raise ValueError(f"Tensor {tensor} from operation '{history.operation.name}' is part of a cycle.")
            operation_index.setdefault(history.operation, len(operation_index))
            in_progress.add(node)
            stack.append((node, [] if node.is_input else list(reversed(node.input_tensors))))

        open_node(output)
        while stack:
            node, left = stack[-1]
            if left:
                open_node(left.pop())
                continue
            stack.pop()
            finished.add(node)
            in_progress.discard(node)
            ordered.append(node)
    return ordered, operation_index


def map_graph(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> Topology:
    """The graph from `inputs` to `outputs`.

    Raises:
        ValueError: where an output needs a tensor that no input leads to, or two operations share a name.
    """
    traversed, operation_index = _traverse(inputs, outputs)
    in_graph = set(traversed)
    node_depth: dict[Node, int] = {}
    operation_depth: dict[Any, int] = {}
    for node in reversed(traversed):
        # A shared operation is as deep as its deepest use.
        depth = max(node_depth.get(node, 0), operation_depth.get(node.operation, 0))
        node_depth[node] = operation_depth[node.operation] = depth
        for parent in node.parent_nodes:
            if parent in in_graph:
                node_depth[parent] = max(depth + 1, node_depth.get(parent, 0))
    for tensor in inputs:
        history = tensor._keras_history
        if history.operation is not None and history.operation not in operation_depth:
            node = history.operation._inbound_nodes[history.node_index]
            if node.is_input:  # an input that no output uses
                node_depth[node] = operation_depth[history.operation] = 0
                operation_index[history.operation] = -1
    nodes = sorted(node_depth, key=lambda node: -node_depth[node])
    operations = sorted(operation_depth, key=lambda op: (-operation_depth[op], operation_index[op]))
    _check_connected(inputs, nodes)
    _check_names(operations)
    return Topology(nodes, operations)


def _check_connected(inputs: list[KerasTensor], nodes: list[Node]) -> None:
    computable = {id(x) for x in inputs}
    reached: list[str] = []
    for node in nodes:
        for x in node.input_tensors:
            if id(x) not in computable:
                raise ValueError(
                    "Output of the graph is not connected to `inputs`. Graph disconnected: cannot find parent for "
                    f"tensor {x} at operation '{node.operation.name}'. The following previous operations were "
                    f"accessed without issue: {reached}. Pass the tensors that it comes from among the inputs."
                )
        reached.append(node.operation.name)
        if not node.is_input:  # another model's input is no source of values here
            computable.update(id(x) for x in node.outputs)


def _check_names(operations: list[Any]) -> None:
    seen: set[str] = set()
    for operation in operations:
        if operation.name in seen:
            count = sum(other.name == operation.name for other in operations)
            raise ValueError(
                f'The name "{operation.name}" is used {count} times in the model. All operation names should be unique.'
            )
        seen.add(operation.name)


def get_source_inputs(tensor: KerasTensor) -> list[KerasTensor]:
    """The input tensors that `tensor` is computed from; of one that no operation made, itself.

    >>> import fastk
    >>> from fastk.graph import get_source_inputs
    >>> x = fastk.Input((2,))
    >>> get_source_inputs(x * 2 + x) == [x]
    True
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None or not history.operation._inbound_nodes:
        return [tensor]
    nodes, _ = _traverse([], [tensor])
    sources = {id(x): x for node in nodes for x in (node.outputs if node.is_input else node.input_tensors)}
    return [x for x in sources.values() if _is_source(x)]


def _is_source(tensor: KerasTensor) -> bool:
    history = tensor._keras_history
    return history.operation is None or history.operation._inbound_nodes[history.node_index].is_input
