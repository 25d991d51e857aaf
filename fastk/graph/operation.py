"""`Operation`, what is applied to tensors, and `Node`, the record of one application to symbolic ones."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastk import tree
from fastk.graph.keras_tensor import KerasTensor, any_symbolic_tensors
from fastk.graph.nodes import OpSpec
from fastk.graph.symbolic import compute_output_spec
from fastk.naming import auto_name, passing_names, to_snake_case


class KerasHistory(NamedTuple):
    """Where a symbolic tensor comes from: output `tensor_index` of call `node_index` of `operation`."""

    operation: Any
    node_index: int
    tensor_index: int


class _Recorder(threading.local):
    nodes: list[Node] | None = None


_recorder = _Recorder()


@contextlib.contextmanager
def passing_calls() -> Iterator[None]:
    """Symbolic calls made inside leave no trace once the block ends: no node of an operation, and no name is taken."""
    before, _recorder.nodes = _recorder.nodes, []
    try:
        with passing_names():
            yield
    finally:
        made, _recorder.nodes = _recorder.nodes, before
        for node in reversed(made):
            node.operation._inbound_nodes.remove(node)
            for x in node.input_tensors:
                source = x._keras_history.operation if hasattr(x, "_keras_history") else None
                if source is not None:
                    source._outbound_nodes.remove(node)


class Node:
    """One call of an operation on symbolic tensors.

    Args:
        operation: what was called.
        call_args, call_kwargs: the arguments, nested structures that hold KerasTensors among other values.
        outputs: the KerasTensors that came out.
    """

    def __init__(self, operation: Any, call_args: tuple = (), call_kwargs: dict | None = None, outputs: Any = None):
        self.operation = operation
        self.args, self.kwargs = tuple(call_args), dict(call_kwargs or {})
        self.input_tensors = [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, KerasTensor)]
        self.outputs = [] if outputs is None else tree.flatten(outputs)
        for x in self.outputs:
            if not isinstance(x, KerasTensor):
                raise ValueError(
                    f"All operation outputs must be tensors. Operation {operation} returned a non-tensor. Non-tensor "
                    f"received: {x}"
                )
        recorded = all(x.record_history for x in self.input_tensors)
        operation._inbound_nodes.append(self)
        for x in self.input_tensors:
            if recorded and not hasattr(x, "_keras_history"):
                x._keras_history = KerasHistory(None, 0, 0)
            source = x._keras_history.operation if hasattr(x, "_keras_history") else None
            if source is not None:
                source._outbound_nodes.append(self)
        if recorded:
            index = len(operation._inbound_nodes) - 1
            for i, x in enumerate(self.outputs):
                x._keras_history = KerasHistory(operation, index, i)
        self.is_input = not self.input_tensors
        if _recorder.nodes is not None:
            _recorder.nodes.append(self)

    @property
    def output_tensors(self) -> list[KerasTensor]:
        """The KerasTensors that the call gave."""
        return self.outputs

    @property
    def parent_nodes(self) -> list[Node]:
        """The nodes whose outputs this one takes."""
        histories = [x._keras_history for x in self.input_tensors]
        return [h.operation._inbound_nodes[h.node_index] for h in histories if h.operation is not None]

    def fill_in(self, values: dict[int, Any]) -> tuple[tuple, dict]:
        """The call's arguments with each KerasTensor replaced by `values[id(tensor)]`."""
        if len(self.args) == 1 and not self.kwargs and isinstance(self.args[0], KerasTensor):
            return (values[id(self.args[0])],), {}

        def substitute(x: Any) -> Any:
            return values.get(id(x), x) if isinstance(x, KerasTensor) else x

        return tree.map_structure(substitute, self.args), tree.map_structure(substitute, self.kwargs)

    def __repr__(self) -> str:
        return f"<Node operation={self.operation.name}, id={id(self)}>"


class Operation:
    """A function of tensors with a name and a configuration, usable on symbolic tensors.

    Subclasses write `call`, and `compute_output_spec` where shapes cannot be found by running `call` without values.

    Args:
        name: by default the class's name in snake case, made unique.
    """

    name: str
    _inbound_nodes: list[Node]
    _outbound_nodes: list[Node]
    _init_arguments: tuple[tuple, dict]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Keeps the constructor's arguments."""
        instance = super().__new__(cls)
        # What get_config makes a configuration of, for classes that do not write their own.
        object.__setattr__(instance, "_init_arguments", (args, kwargs))
        return instance

    def __init__(self, name: str | None = None):
        if name is None:
            name = auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                f"Argument `name` must be a string and cannot contain character `/`. Received: name={name} (of type "
                f"{type(name)})"
            )
        self.name = name
        self._inbound_nodes = []
        self._outbound_nodes = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`call` on tensors, `symbolic_call` where one of them is symbolic."""
        if any_symbolic_tensors(args, kwargs):
            return self.symbolic_call(*args, **kwargs)
        return self.call(*args, **kwargs)

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Infers what `call` would return, and records the call in the graph."""
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The computation on tensors."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `call()`: write `def call(self, ...)`.")

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors in the structure, shapes and dtypes of what `call` would return."""
        return inferred(self, self.call, args, kwargs)

    # ------------------------------------------------------------ what `graph.trace` asks for

    def _graph_ops(self) -> list[OpSpec]:
        """The ops that `call` computes, each taking the result of the one before."""
        return [OpSpec(to_snake_case(type(self).__name__), self.call)]

    def _why_opaque(self) -> str | None:
        """None, or why the operation has to be called as a whole."""
        return None if is_fastk(type(self)) else f"{type(self).__name__} is not one of fastk's operations"

    def _casts_inputs_to(self) -> str | None:
        """The dtype that a call casts floating-point inputs to; None where it casts nothing."""
        return None

    def _in_scope(self, call: Callable[..., Any], mixed: bool) -> Callable[..., Any]:
        """`call` with what a call of the operation sets up around it; `mixed`: in a model of mixed precision."""
        return call

    def _inner_calls(self) -> Any:
        """The `CallGraph` that stands for a call of the operation; None for all but models."""
        return None

    @property
    def input(self) -> Any:
        """The symbolic input of the operation's only call."""
        node = self._only_node("input")
        if len(node.args) == 1 and not any_symbolic_tensors(kwargs=node.kwargs):
            return node.args[0]
        return node.input_tensors[0] if len(node.input_tensors) == 1 else node.input_tensors

    @property
    def output(self) -> Any:
        """The symbolic output of the operation's only call."""
        outputs = self._only_node("output").outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _only_node(self, attribute: str) -> Node:
        if len(self._inbound_nodes) != 1:
            why = "has never been called" if not self._inbound_nodes else "has been called several times"
            raise AttributeError(
                f"The operation '{self.name}' {why} on symbolic tensors and thus has no defined {attribute}."
            )
        return self._inbound_nodes[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready: from them `from_config` makes the object anew."""
        config: dict[str, Any] = {"name": self.name}
        if overrides(self, "get_config", Operation):
            return config
        return self._automatic_config(config)

    def _automatic_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The arguments that the object was made with, and of `config` what its constructor takes."""
        args, kwargs = self._init_arguments
        parameters = inspect.signature(type(self).__init__).parameters.values()
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        nameless = [p.name for p in list(parameters)[1:] if p.kind is inspect.Parameter.POSITIONAL_ONLY]
        several = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
        if nameless or any(bound.arguments.get(name) for name in several):
            raise NotImplementedError(_NEEDS_CONFIG.format(type(self).__name__, "positional-only or variadic"))
        bound.apply_defaults()
        arguments = {key: value for key, value in list(bound.arguments.items())[1:] if key not in several}
        variadic = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
        if variadic is not None:
            arguments |= arguments.pop(variadic)
        accepted = {key: value for key, value in config.items() if variadic is not None or key in arguments}
        arguments = {key: value for key, value in arguments.items() if key not in config}
        if not all(isinstance(value, (str, int, float, bool, type(None))) for value in tree.flatten(arguments)):
            raise NotImplementedError(_NEEDS_CONFIG.format(type(self).__name__, "non-serializable"))
        return accepted | arguments

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object made from `get_config`'s result."""
        try:
            return cls(**config)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Error when deserializing class '{cls.__name__}' using config={config}.\n\nException encountered: "
                f"{error}"
            ) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def inferred(operation: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
    """`compute_output_spec(function, ...)`, with the operation named where it fails."""
    try:
        return compute_output_spec(function, *args, **kwargs)
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError, IndexError, KeyError) as error:
        kind = type(operation).__name__
        message = (
            f"Could not automatically infer the output shape / dtype of '{operation.name}' (of type {kind}). Either "
            f"the `{kind}.call()` method is incorrect, or you need to implement the `{kind}.compute_output_spec() / "
            f"compute_output_shape()` method. Error encountered:\n\n{error}"
        )
        raise type(error)(message).with_traceback(error.__traceback__) from error


def is_fastk(cls: type) -> bool:
    """Whether a class is fastk's own, and not one derived from it."""
    return cls.__module__.startswith("fastk.")


def overrides(instance: Any, method: str, base: type) -> bool:
    """Whether the class of `instance` has a `method` of its own, not that of `base`."""
    return getattr(type(instance), method) is not getattr(base, method)


_NEEDS_CONFIG = textwrap.dedent(
    """
    Object {0} was created by passing {1} argument values in `__init__()`, and therefore the object must override
    `get_config()` in order to be serializable. Please implement `get_config()`:

        class {0}(keras.layers.Layer):
            def __init__(self, arg1, **kwargs):
                super().__init__(**kwargs)
                self.arg1 = arg1

            def get_config(self):
                return {{**super().get_config(), "arg1": self.arg1}}
    """
)
