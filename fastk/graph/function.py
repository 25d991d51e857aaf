"""`Function`: the graph between some symbolic tensors, applied to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastk import tree
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.operation import Node, Operation
from fastk.graph.topology import map_graph


@dataclass(frozen=True)
class CallGraph:
    """The nodes from `inputs` to `outputs`, flat and in the structures that they were given in."""

    inputs_struct: Any
    outputs_struct: Any
    inputs: list[KerasTensor]
    outputs: list[KerasTensor]
    operations: list[Any]
    nodes: set[Node]
    nodes_to_run: list[Node]

    def run(self, flat_inputs: list, call: Callable[[Any], Callable] = lambda operation: operation) -> Any:
        """The outputs for `flat_inputs`; each node runs `call(node.operation)` on its arguments."""
        values = {id(x): value for x, value in zip(self.inputs, flat_inputs, strict=True)}
        for node in self.nodes_to_run:
            args, kwargs = node.fill_in(values)
            outputs = call(node.operation)(*args, **kwargs)
            if len(node.outputs) == 1 and not isinstance(outputs, (list, tuple, dict)):
                values[id(node.outputs[0])] = outputs
            else:
                values.update(zip(map(id, node.outputs), tree.flatten(outputs), strict=True))
        if isinstance(self.outputs_struct, KerasTensor):
            return values[id(self.outputs_struct)]
        return tree.pack_sequence_as(self.outputs_struct, [values[id(x)] for x in self.outputs])


class Function(Operation):
    """A stateless computation graph from `inputs` to `outputs`, both (structures of) KerasTensors.

    >>> import fastk
    >>> a, b = fastk.KerasTensor((None, 2)), fastk.KerasTensor((None, 2))
    >>> f = fastk.Function([a, b], fastk.ops.relu(a - b))
    >>> f([fastk.ops.ones((1, 2)), fastk.ops.zeros((1, 2))])
    tensor([[1., 1.]])
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None):
        super().__init__(name=name)
        self._set_graph(inputs, outputs)

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        flat_inputs, flat_outputs = tree.flatten(inputs), tree.flatten(outputs)
        for what, flat, given in (("inputs", flat_inputs, inputs), ("outputs", flat_outputs, outputs)):
            if not flat:
                raise ValueError(f"`{what}` argument cannot be empty. Received: {what}={given}")
            for x in flat:
                if not isinstance(x, KerasTensor):
                    raise ValueError(
                        f"All `{what}` values must be KerasTensors. Received: {what}={given} including invalid value "
                        f"{x} of type {type(x)}"
                    )
        self._graph = call_graph(inputs, outputs)
        computed = {id(x) for node in self._graph.nodes_to_run for x in node.outputs} | set(map(id, flat_inputs))
        for path, x in tree.flatten_with_path(outputs):
            if id(x) not in computed:
                where = ".".join(map(str, path))
                raise ValueError(f"Output with path `{where}` is not connected to `inputs`")

    def _call_graph(self, training: bool = False) -> CallGraph:
        """What `graph.trace` walks through."""
        return self._graph

    @property
    def _inputs_struct(self) -> Any:
        return self._graph.inputs_struct

    @property
    def _outputs_struct(self) -> Any:
        return self._graph.outputs_struct

    @property
    def operations(self) -> list[Any]:
        """The operations of the graph, inputs first."""
        return list(self._graph.operations)

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs, flat."""
        return list(self._graph.inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs, flat."""
        return list(self._graph.outputs)

    def call(self, inputs: Any) -> Any:
        """The outputs for new inputs, in the structure that the function was made with."""
        self._check_inputs(inputs)
        return self._run_graph(tree.flatten(inputs))

    def compute_output_spec(self, inputs: Any) -> Any:
        """KerasTensors like the outputs, for inputs of the given shapes."""
        self._check_inputs(inputs)
        flat = tree.flatten(inputs)
        if all(x.shape == own.shape for x, own in zip(flat, self._graph.inputs, strict=True)):
            return tree.map_structure(lambda x: KerasTensor(x.shape, dtype=x.dtype), self._outputs_struct)
        return self._run_graph(flat, lambda operation: operation.compute_output_spec)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs for inputs of `input_shape`."""
        shapes = flatten_shapes(input_shape)
        specs = [KerasTensor(shape, dtype=own.dtype) for shape, own in zip(shapes, self._graph.inputs, strict=True)]
        outputs = self.compute_output_spec(tree.pack_sequence_as(self._inputs_struct, specs))
        return tree.map_structure(lambda x: x.shape, outputs)

    def _run_graph(self, flat_inputs: list, call: Callable[[Any], Callable] = lambda operation: operation) -> Any:
        return self._graph.run(flat_inputs, call)

    def _check_inputs(self, inputs: Any) -> None:
        try:
            tree.assert_same_structure(inputs, self._inputs_struct)
        except ValueError:
            raise ValueError(
                "Function was called with an invalid input structure. Expected input structure: "
                f"{self._inputs_struct}\nReceived input structure: {inputs}"
            ) from None
        for x, own in zip(tree.flatten(inputs), self._graph.inputs, strict=True):
            sizes = tuple(x.shape)
            if len(sizes) != len(own.shape) or any(
                a != b for a, b in zip(sizes, own.shape, strict=True) if a is not None and b is not None
            ):
                raise ValueError(
                    f"{type(self).__name__} was passed incompatible inputs. For input '{own.name}', expected shape "
                    f"{own.shape}, but received instead a tensor with shape {sizes}."
                )


def call_graph(inputs: Any, outputs: Any) -> CallGraph:
    """The calls between (structures of) symbolic tensors."""
    flat_inputs, flat_outputs = tree.flatten(inputs), tree.flatten(outputs)
    topology = map_graph(flat_inputs, flat_outputs)
    return CallGraph(
        inputs_struct=_copied(inputs),
        outputs_struct=_copied(outputs),
        inputs=flat_inputs,
        outputs=flat_outputs,
        operations=topology.operations,
        nodes=set(topology.nodes),
        nodes_to_run=[node for node in topology.nodes if not node.is_input],
    )


def _copied(structure: Any) -> Any:
    return tree.map_structure(lambda x: x, structure)


def flatten_shapes(structure: Any) -> list[tuple]:
    """The shapes in a structure of shapes."""
    found: list[tuple] = []
    tree.map_shape_structure(lambda shape: found.append(tuple(shape)), structure)
    return found
