"""`Functional`: a model defined by the graph between symbolic inputs and outputs."""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any

import numpy as np
import torch

from fastk import dtypes, ops, serialization, tree
from fastk.graph import Function, KerasHistory, KerasTensor, Node, Operation
from fastk.graph.function import CallGraph
from fastk.graph.topology import nodes_between
from fastk.layers.call_spec import CallContext, current
from fastk.layers.core.input_layer import Input, InputLayer
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.strings import text_array
from fastk.models.model import Model
from fastk.tensor import convert_to_tensor, get_keras_mask, set_keras_mask
from fastk.user_warning import warn_user


class Functional(Function, Model):
    """A model from symbolic `inputs` to symbolic `outputs`; made by `Model(inputs, outputs)`.

    Args:
        inputs, outputs: KerasTensors or structures of them. Intermediate tensors are allowed as inputs.
        name: the model's name.
        **kwargs: `trainable` says whether training changes the weights, each layer having its own say beside; and what
            `Layer` takes.
    """

    _keras_location = ("keras.src.models.functional", "Functional", "Functional")

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any):
        if isinstance(inputs, dict):
            for key, x in inputs.items():
                if isinstance(x, KerasTensor) and key != x.name:
                    warn_user(
                        "When providing `inputs` as a dict, all keys in the dict must match the names of the "
                        f"corresponding tensors. Received key '{key}' mapping to value {x} which has name "
                        f"'{x.name}'. Change the tensor name to '{key}' (via `Input(..., name='{key}')`)"
                    )
        trainable = kwargs.pop("trainable", None)
        Model.__init__(self, name=name, **kwargs)
        for x in tree.flatten(inputs):
            if isinstance(x, KerasTensor) and not hasattr(x, "_keras_history"):
                raise ValueError(
                    f"`inputs` must come from `keras.Input()`, or from layers applied to it. Received: {x}"
                )
        if not all(not isinstance(x, KerasTensor) or is_input(x) for x in tree.flatten(inputs)):
            inputs, outputs = clone_graph(inputs, outputs)
        self._set_graph(inputs, outputs)
        for operation in self._graph.operations:
            if isinstance(operation, Layer):
                self._track_layer(operation)
        if trainable is not None:  # of the model alone: layers that are frozen stay so when it is loaded
            object.__setattr__(self, "_trainable", bool(trainable))
        self.built = True
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        # Arguments such as `training` that layers were given when the graph was made: those of a call override them.
        self._recorded_arguments = frozenset(name for node in self._graph.nodes_to_run for name in node.kwargs)
        self._single_input = isinstance(inputs, KerasTensor) or (
            isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], KerasTensor)
        )
        self.output_names = [x._keras_history.operation.name for x in self._graph.outputs]

    @property
    def layers(self) -> list[Layer]:
        """The layers of the graph, inputs first."""
        return [operation for operation in self._graph.operations if isinstance(operation, Layer)]

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved and should not be used. Please use another name.")

    def build(self, input_shape: Any = None) -> None:
        """The layers were built when the graph was made: there is nothing left to do."""

    @property
    def input(self) -> Any:
        """The symbolic inputs, in their structure."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The symbolic outputs, in their structure."""
        return self._outputs_struct

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [x.name for x in self._graph.inputs]

    @property
    def input_shape(self) -> Any:
        """The inputs' shapes; one shape for one input."""
        return _unpacked([x.shape for x in self._graph.inputs])

    @property
    def output_shape(self) -> Any:
        """The outputs' shapes; one shape for one output."""
        return _unpacked([x.shape for x in self._graph.outputs])

    def _functional_part(self) -> Functional | None:
        return self if type(self).call is Functional.call else None

    def _call_graph(self, training: bool = False) -> CallGraph:
        return Model._call_graph(self, training)

    # ------------------------------------------------------------ call

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """The outputs for `inputs`, given in the structure of the model's inputs, as a list, or by name."""
        flat = self._standardized(inputs)
        if mask is not None:
            for x, one in zip(flat, tree.flatten(mask), strict=False):
                if one is not None and x is not None:
                    set_keras_mask(x, one)
        handed = {name: value for name, value in {"training": training, **kwargs}.items() if value is not None}
        if current.context is not None:
            return self._run_with(current.context, flat, handed)
        current.context = context = CallContext(self)  # called as `model.call(...)`: the layers still need one
        try:
            return self._run_with(context, flat, handed)
        finally:
            current.context = None

    def _run_with(self, context: CallContext, flat: list, handed: dict[str, Any]) -> Any:
        """Runs the graph with arguments handed down, also to layers that were called with others for the graph."""
        call = functools.partial(_called_with, handed) if self._recorded_arguments & handed.keys() else _as_it_is
        if all(context.values.get(name) is value for name, value in handed.items()):
            return _unpacked(self._run_graph(flat, call))
        before = context.values
        context.values = {**before, **handed}
        try:
            return _unpacked(self._run_graph(flat, call))
        finally:
            context.values = before

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """KerasTensors like the outputs, for inputs of the given shapes."""
        flat = self._standardized(inputs)
        if all(x is None or x.shape == own.shape for x, own in zip(flat, self._graph.inputs, strict=True)):
            outputs = tree.map_structure(lambda x: KerasTensor(x.shape, dtype=x.dtype), self._outputs_struct)
        else:
            outputs = self._run_graph(flat, lambda operation: operation.compute_output_spec)
        return _unpacked(outputs)

    def _standardized(self, inputs: Any) -> list:
        """The inputs, flat, in the dtypes and ranks that the model declares."""
        if self._single_input and type(inputs) is torch.Tensor:
            own = self._graph.inputs[0]
            if len(inputs.shape) == len(own.shape) and inputs.dtype is dtypes.TORCH_DTYPES[own.dtype]:
                return [inputs]
        own = self._inputs_struct
        if isinstance(inputs, dict) and not isinstance(own, dict):
            inputs = self._by_name(inputs)
        elif not self._single_input and not _same_structure(inputs, own):
            names = tree.map_structure(lambda x: x.name, own)
            given = tree.map_structure(lambda x: "None" if x is None else f"Tensor(shape={tuple(x.shape)})", inputs)
            message = (
                "The structure of `inputs` doesn't match the expected structure.\n"
                f"Expected: {names}\nReceived: inputs={given}"
            )
            if len(tree.flatten(inputs)) != len(self._graph.inputs):
                raise ValueError(message)
            warn_user(message)
        elif isinstance(own, dict):
            inputs = {key: inputs[key] for key in own}
        flat = tree.flatten(inputs)
        if len(flat) != len(self._graph.inputs):
            raise ValueError(
                f"Model '{self.name}' expects {len(self._graph.inputs)} input(s) {self.input_names}, but received "
                f"{len(flat)}."
            )
        return [self._convert_input(x, own_input) for x, own_input in zip(flat, self._graph.inputs, strict=True)]

    def _by_name(self, inputs: dict) -> Any:
        missing = [x.name for x in self._graph.inputs if x.name not in inputs]
        if missing:
            raise ValueError(
                f"Missing data for input '{missing[0]}'. You passed a data dictionary with keys {list(inputs)}. "
                f"Expected the following keys: {self.input_names}"
            )
        return tree.map_structure(lambda x: inputs[x.name], self._inputs_struct)

    def _convert_input(self, x: Any, own: KerasTensor) -> Any:
        if x is None:
            layer = own._keras_history.operation
            if isinstance(layer, InputLayer) and not layer.optional:
                raise ValueError(
                    f"The input '{own.name}' is not optional, but None was passed. Please provide a valid tensor."
                )
            return None
        if own.dtype == "string" and not isinstance(x, KerasTensor):
            return self._convert_text(x, own)
        if isinstance(x, KerasTensor):
            converted: Any = x if x.dtype == own.dtype else ops.cast(x, own.dtype)
        else:
            converted = convert_to_tensor(x, dtype=own.dtype)
        rank, expected = len(converted.shape), len(own.shape)
        if rank == expected + 1 and converted.shape[-1] == 1:
            converted = ops.squeeze(converted, axis=-1)
        elif rank == expected - 1 and own.shape[-1] == 1:
            converted = ops.expand_dims(converted, axis=-1)
        elif rank != expected:
            raise self._wrong_shape(own, x.shape)
        mask = get_keras_mask(x)
        if mask is not None and converted is not x:
            set_keras_mask(converted, mask)
        return converted

    def _convert_text(self, x: Any, own: KerasTensor) -> np.ndarray:
        """Strings as an array of objects, of the rank that the model declares."""
        text = text_array(x)
        rank, expected = text.ndim, len(own.shape)
        if rank == expected + 1 and text.shape[-1] == 1:
            return text[..., 0]
        if rank == expected - 1 and own.shape[-1] == 1:
            return text[..., None]
        if rank != expected:
            raise self._wrong_shape(own, text.shape)
        return text

    def _wrong_shape(self, own: KerasTensor, shape: Any) -> ValueError:
        return ValueError(
            f"Invalid input shape for input '{own.name}' of model '{self.name}'. Expected shape {own.shape}, but input "
            f"has incompatible shape {tuple(shape)}. Reshape the data, or give the model an `Input` of its shape."
        )

    @property
    def input_spec(self) -> Any:
        """What each input must be like: the shapes of the symbolic inputs."""
        manual = self.__dict__.get("_manual_input_spec")
        if manual is not None or "_graph" not in self.__dict__:
            return manual
        own = self._inputs_struct

        def spec(x: KerasTensor, name: str | None = None) -> InputSpec:
            layer = x._keras_history.operation
            optional = isinstance(layer, InputLayer) and layer.optional
            shape = (None, *x.shape[1:])
            return InputSpec(shape=shape, allow_last_axis_squeeze=True, name=name or x.name, optional=optional)

        if isinstance(own, dict):
            if all(isinstance(x, KerasTensor) for x in own.values()):
                return [spec(own[name], name) for name in sorted(own)]
            return None
        return [spec(x) for x in self._graph.inputs]

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        self.__dict__["_manual_input_spec"] = value

    # ------------------------------------------------------------ configuration

    def get_config(self) -> dict[str, Any]:
        """The graph: layers, their calls, inputs and outputs."""
        if not takes_functional_arguments(type(self)):
            return Model.get_config(self)
        index = self._node_indices()
        layers = []
        for operation in self._graph.operations:
            calls = [self._node_config(node, index) for node in operation._inbound_nodes if node in self._graph.nodes]
            config = serialization.serialize_keras_object(operation)
            layers.append({**config, "name": operation.name, "inbound_nodes": [c for c in calls if c is not None]})

        def where(x: KerasTensor) -> list:
            operation, node_index, tensor_index = x._keras_history
            own_index = index[operation._inbound_nodes[node_index]]
            return [operation.name, own_index + _index_offset(operation), tensor_index]

        return copy.deepcopy(
            {
                "name": self.name,
                "trainable": self.trainable,
                "layers": layers,
                "input_layers": tree.map_structure(where, self._inputs_struct),
                "output_layers": tree.map_structure(where, self._outputs_struct),
            }
        )

    def _node_indices(self) -> dict[Node, int]:
        """Each node's index among the calls of its operation that belong to this model."""
        indices: dict[Node, int] = {}
        for operation in self._graph.operations:
            own = [node for node in operation._inbound_nodes if node in self._graph.nodes]
            indices |= {node: i for i, node in enumerate(own)}
        return indices

    @staticmethod
    def _node_config(node: Node, index: dict[Node, int]) -> dict | None:
        if not node.input_tensors:
            return None

        def reindexed(x: Any) -> Any:
            if not isinstance(x, KerasTensor):
                return x
            operation, node_index, tensor_index = x._keras_history
            stand_in = KerasTensor(x.shape, dtype=x.dtype, name=x.name)
            own_index = index.get(operation._inbound_nodes[node_index])
            stand_in._keras_history = KerasHistory(
                operation, node_index if own_index is None else own_index, tensor_index
            )
            return stand_in

        return {
            "args": serialization.serialize_keras_object(tree.map_structure(reindexed, node.args)),
            "kwargs": serialization.serialize_keras_object(tree.map_structure(reindexed, node.kwargs)),
        }


def _as_it_is(operation: Any) -> Any:
    return operation


def _called_with(handed: dict[str, Any], operation: Any) -> Any:
    """`operation` with the arguments of its recorded call that are among `handed` replaced."""
    return lambda *args, **kwargs: operation(*args, **{name: handed.get(name, kwargs[name]) for name in kwargs})


def _index_offset(operation: Any) -> int:
    """In a file's inputs and outputs (not in its nodes) Keras counts a nested functional model's making as call 0."""
    return 1 if isinstance(operation, Functional) else 0


def _unpacked(x: Any) -> Any:
    return x[0] if isinstance(x, (list, tuple)) and len(x) == 1 else x


def _same_structure(a: Any, b: Any) -> bool:
    try:
        tree.assert_same_structure(tree.lists_to_tuples(a), tree.lists_to_tuples(b))
    except ValueError:
        return False
    return True


def is_input(x: KerasTensor) -> bool:
    """Whether `x` is the output of an `Input`."""
    operation, node_index, _ = x._keras_history
    return operation is not None and operation._inbound_nodes[node_index].is_input


def clone_graph(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The graph from intermediate tensors on, with new inputs in their place; the layers are shared."""
    new: dict[int, KerasTensor] = {}

    def copied(x: Any) -> Any:
        if isinstance(x, KerasTensor) and id(x) not in new:
            new[id(x)] = KerasTensor(x.shape, dtype=x.dtype, name=f"{x.name}_clone")
        return new[id(x)] if isinstance(x, KerasTensor) else x

    nodes = nodes_between(tree.flatten(inputs), tree.flatten(outputs))
    for x in tree.flatten(inputs):
        if is_input(x):
            new[id(x)] = x
        else:
            new[id(x)] = Input(batch_shape=x.shape, dtype=x.dtype, name=f"{x.name}_clone")
    new_inputs = tree.map_structure(copied, inputs)
    for node in nodes:
        if node.is_input:  # an input that the graph reaches without passing a given one
            new.setdefault(id(node.outputs[0]), node.outputs[0])
            continue
        args, kwargs = tree.map_structure(copied, node.args), tree.map_structure(copied, node.kwargs)
        Node(node.operation, args, kwargs, [copied(x) for x in node.outputs])
    return new_inputs, tree.map_structure(copied, outputs)


def takes_functional_arguments(cls: type) -> bool:
    """Whether the constructor of `cls` takes what that of `Functional` does."""
    if cls in (Model, Functional):
        return True
    own = inspect.getfullargspec(cls.__init__)
    return own.args[1:] == inspect.getfullargspec(Functional.__init__).args[1:] or bool(own.varargs and own.varkw)


def functional_from_config(cls: type, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
    """A functional model from the graph that `get_config` described."""
    config = dict(config)
    layer_configs = config.pop("layers")
    ends = {"inputs": config.pop("input_layers"), "outputs": config.pop("output_layers")}
    created: dict[str, tuple[Any, int]] = {}
    pending: list[tuple[Any, dict]] = []
    for layer_config in layer_configs:
        operation = serialization.deserialize_keras_object(layer_config, custom_objects=custom_objects)
        if not isinstance(operation, Operation):
            raise ValueError(
                f"Unexpected object from deserialization, expected a layer or operation, got a {type(operation)}"
            )
        # A layer that a model within this one has too was called before; its indices here count the calls from now on.
        before = 0 if isinstance(operation, InputLayer) else len(operation._inbound_nodes)
        created[layer_config["name"]] = operation, before
        pending += [(operation, node) for node in layer_config["inbound_nodes"]]
    _replay(pending, created)

    def tensor(where: Any) -> Any:
        if isinstance(where, (list, tuple)) and len(where) == 3 and isinstance(where[0], str):
            name, node_index, tensor_index = where
            offset = _index_offset(created[name][0]) if name in created else 0
            found = _recorded_output(created, (name, node_index - offset, tensor_index))
            if found is None:
                raise ValueError(f"Invalid Functional model configuration: it has no tensor {where}.")
            return found
        if isinstance(where, dict):
            return {key: tensor(value) for key, value in where.items()}
        return [tensor(value) for value in where]

    return cls(**{key: tensor(value) for key, value in ends.items()}, **config)


def _replay(pending: list[tuple[Any, dict]], created: dict[str, tuple[Any, int]]) -> None:
    """Calls the operations again, each once its inputs exist, the calls of one operation in their order."""
    while pending:
        left: list[tuple[Any, dict]] = []
        waiting: set[int] = set()
        for operation, node in pending:
            arguments = None if id(operation) in waiting else _revived(node, created)
            if arguments is None:
                waiting.add(id(operation))
                left.append((operation, node))
            else:
                operation(*arguments[0], **arguments[1])
        if len(left) == len(pending):
            raise ValueError(
                "Invalid Functional model configuration. The graph of the Functional model either has loops or "
                "disconnected nodes. The following nodes failed to be resolved: "
                f"{[operation.name for operation, _ in left]}"
            )
        pending = left


def _revived(node: Any, created: dict[str, tuple[Any, int]]) -> tuple[list, dict] | None:
    """The arguments of a recorded call; None where one of its inputs does not exist yet."""
    if isinstance(node, list):  # the form of old files: [[layer, node, tensor, kwargs], ...]
        tensors = [_recorded_output(created, where[:3]) for where in node]
        kwargs = node[0][3] if node and len(node[0]) > 3 else {}
        return None if any(x is None for x in tensors) else ([_unpacked(tensors)], kwargs)
    args = serialization.deserialize_keras_object(node["args"])
    kwargs = serialization.deserialize_keras_object(node["kwargs"])
    complete = True

    def revived(x: Any) -> Any:
        nonlocal complete
        history = getattr(x, "_pre_serialization_keras_history", None)
        if history is None:
            return x
        found = _recorded_output(created, history)
        complete = complete and found is not None
        return found

    args, kwargs = tree.map_structure(revived, args), tree.map_structure(revived, kwargs)
    return (args, kwargs) if complete else None


def _recorded_output(created: dict[str, tuple[Any, int]], where: Any) -> KerasTensor | None:
    name, node_index, tensor_index = where
    if name not in created:
        raise ValueError(f"Invalid Functional model configuration. Missing layer: {name}. Layers: {list(created)}")
    operation, before = created[name]
    nodes = operation._inbound_nodes[before:]
    return nodes[node_index].outputs[tensor_index] if node_index < len(nodes) else None
