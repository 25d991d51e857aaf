"""`@operation`: from a plain function on tensors to a member of `keras.ops`.

A call with concrete arguments runs the function. A call in which a KerasTensor stands anywhere makes a node of
the graph: an instance of an `Operation` class that is derived from the function's signature. The class's
constructor takes the static arguments, which is what its configuration holds in a file; its call takes the tensors.

>>> from fastk import ops
>>> ops.mean([1.0, 3.0])
tensor(2.)
>>> ops.operation_class("Mean")(axis=1, name="m").get_config()
{'name': 'm', 'axis': 1, 'keepdims': False}
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastk import dtypes
from fastk.activations.fused import fused_operation_name
from fastk.device import device_scope
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.nodes import OpSpec
from fastk.graph.operation import Operation
from fastk.graph.symbolic import compute_output_spec
from fastk.naming import to_snake_case
from fastk.ops.shapes import broadcast_shapes, shape_of, with_shape
from fastk.scopes import internal
from fastk.serialization import deserialize_keras_object

# For every operation, by its name in files, what makes its class. Classes are made when a graph or a file first needs
# one: hundreds of them at import would be a good part of the time that `import fastk` takes.
CLASS_MAKERS: dict[str, Callable[[], type[Operation]]] = {}

_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAME = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default=None)
_VARIADIC = inspect.Parameter.VAR_POSITIONAL


def is_symbolic(x: Any) -> bool:
    """Whether `x` is a KerasTensor, or a list, tuple or dict that holds one."""
    if isinstance(x, KerasTensor):
        return True
    if isinstance(x, (list, tuple)):
        return any(map(is_symbolic, x))
    return isinstance(x, dict) and any(map(is_symbolic, x.values()))


def camel_case(name: str) -> str:
    """`expand_dims` to `ExpandDims`."""
    return "".join(part.capitalize() for part in name.split("_"))


def operation(
    tensors: str,
    *,
    spec: Callable | None = None,
    name: str | None = None,
    module: str | None = None,
    call: Callable | None = None,
) -> Callable[[Callable], Callable]:
    """A decorator that makes a function of tensors a public operation.

    Args:
        tensors: the names of the arguments that are tensors, in the order in which the class's call takes them; all
            other arguments are static: Python values, kept in the configuration.
        spec: for symbolic arguments, what the function would return as KerasTensors, called with the same arguments.
            By default the function is run without values, on the `meta` device, with stand-ins for unknown sizes.
        name: the class's name in files, where it is not the function's name in CamelCase.
        module: Keras's module for it in files, where it is not that of the function: `"nn"`.
        call: the class's `call`, where it is not the function itself.
    """

    def decorate(function: Callable) -> Callable:
        # `fastk.ops.numpy.reductions` is written as `keras.src.ops.numpy`.
        place = module or function.__module__.split(".")[2]
        class_name = name or camel_case(function.__name__)

        @functools.cache
        def make_class() -> type[FunctionOperation]:
            return _operation_class(function, tensors.split(), spec, class_name, place, call)

        CLASS_MAKERS[class_name] = make_class

        @functools.wraps(function)
        def public(*args: Any, **kwargs: Any) -> Any:
            for x in args:
                if type(x) is not Tensor and is_symbolic(x):
                    return symbolic_call(make_class(), args, kwargs)
            for x in kwargs.values():
                if type(x) is not Tensor and is_symbolic(x):
                    return symbolic_call(make_class(), args, kwargs)
            return function(*args, **kwargs)

        return public

    return decorate


def elementwise(tensors: str, *, name: str | None = None, module: str | None = None) -> Callable[[Callable], Callable]:
    """`operation` for a function whose tensors broadcast: only the result's dtype has to be inferred."""

    def decorate(function: Callable) -> Callable:
        names = tensors.split()

        def spec(**arguments: Any) -> KerasTensor:
            shape = broadcast_shapes(*(shape_of(arguments[n]) for n in names))
            return KerasTensor(shape, dtype=_dtype_of_one(function, names, arguments))

        return operation(tensors, spec=spec, name=name, module=module)(function)

    return decorate


def _dtype_of_one(function: Callable, names: list[str], arguments: dict[str, Any]) -> str:
    """The dtype that an elementwise `function` returns, found by running it on ones on the host.

    Not on the meta device, as for others: torch's rules for elementwise functions there are Python code whose first
    call imports torch's compiler, which takes a second.
    """
    specs = {name: with_shape(arguments[name], ()) for name in names}
    host = torch.device("cpu")

    def one(name: str) -> Any:
        x = specs[name]
        if not isinstance(x, KerasTensor):
            return x  # a number
        rank = len(shape_of(arguments[name]))
        return torch.ones((1,) * rank, dtype=dtypes.TORCH_DTYPES[x.dtype], device=host)

    try:
        with internal(), torch.no_grad(), device_scope(host):
            return dtypes.standardize_dtype(function(**{**arguments, **{name: one(name) for name in names}}).dtype)
    except NotImplementedError:  # of a dtype without a kernel on the host, such as bitwise operations on floats
        return dtype_for(function, names, arguments)


def dtype_for(function: Callable, names: list[str], arguments: dict[str, Any]) -> str:
    """The dtype that `function` returns, found with sizes of 1 in place of those of the tensors `names`."""
    ones = {name: with_shape(arguments[name], (1,) * len(shape_of(arguments[name]))) for name in names}
    return compute_output_spec(function, **{**arguments, **ones}).dtype


def symbolic_call(cls: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Makes a node of `cls`, the class of an operation, for a call of its function."""
    bound = cls.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    values = bound.arguments
    static = {parameter: values[parameter] for parameter in cls.static_names}
    if static.get("dtype") is not None:
        static["dtype"] = dtypes.standardize_dtype(static["dtype"])
    for parameter, value in static.items():
        if is_symbolic(value):
            raise ValueError(
                f"Argument `{parameter}` of `{cls.function.__name__}` is static: it cannot be a KerasTensor. "
                f"Received: {parameter}={value}. Pass a Python value, or put the computation into the `call()` of a "
                "Layer."
            )
    call_args: list[Any] = []
    for parameter in cls.tensor_names:
        if parameter == cls.variadic:
            call_args.extend(values[parameter])
        else:
            call_args.append(values[parameter])
    return cls(**static).symbolic_call(*call_args)


class FunctionOperation(Operation):
    """Base of the classes that `@operation` makes.

    Args:
        args, kwargs: the function's static arguments.
        name: the node's name.
    """

    function: Callable
    spec: Callable | None
    signature: inspect.Signature
    constructor: inspect.Signature
    tensor_names: tuple[str, ...]
    static_names: tuple[str, ...]
    variadic: str | None

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any):
        super().__init__(name=name)
        bound = self.constructor.bind(self, *args, **kwargs)
        bound.apply_defaults()
        # In one tuple, so that lists and dicts among the arguments stay what they are.
        self._static = ({parameter: bound.arguments[parameter] for parameter in self.static_names},)

    def _arguments(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        static = self._static[0]
        if self.variadic is not None:
            given = list(args)
            before = list(self.signature.parameters)[: list(self.signature.parameters).index(self.variadic)]
            positional = [static[parameter] if parameter in static else given.pop(0) for parameter in before]
            rest = {parameter: value for parameter, value in static.items() if parameter not in before}
            return (*positional, *given), {**rest, **kwargs}
        if len(args) > len(self.tensor_names):
            raise TypeError(
                f"{type(self).__name__} takes the tensors {', '.join(self.tensor_names)}. Received {len(args)} "
                "positional arguments."
            )
        return (), {**dict(zip(self.tensor_names, args, strict=False)), **kwargs, **static}

    def get_config(self) -> dict[str, Any]:
        """The name and the static arguments; functions among them are written as registered ones."""
        static = self._static[0]
        plain = {parameter: value for parameter, value in static.items() if not isinstance(value, types.FunctionType)}
        if len(plain) == len(static):
            return self._automatic_config({"name": self.name})
        return {"name": self.name, **static}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The operation that `get_config` described."""
        made = {
            key: deserialize_keras_object(value) if isinstance(value, dict) and "class_name" in value else value
            for key, value in config.items()
        }
        return super().from_config(made)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result for these tensors and the static arguments."""
        args, kwargs = self._arguments(args, kwargs)
        return type(self).function(*args, **kwargs)

    def _graph_ops(self) -> list[OpSpec]:
        static = self._static[0]
        name = fused_operation_name(type(self).__name__, static)
        if name is not None:
            return [OpSpec("activation", self.call, shown={"activation": name})]
        return [OpSpec(to_snake_case(type(self).__name__), self.call, shown=static)]

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors like the result."""
        if self.spec is not None:
            args, kwargs = self._arguments(args, kwargs)
            return type(self).spec(*args, **kwargs)  # type: ignore[misc]
        try:
            return super().compute_output_spec(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            # torch's errors for shapes that do not fit: wrong arguments, as those that a spec finds.
            axis = re.search(r"Dimension out of range .* got (-?\d+)", str(error))
            raise ValueError(f"axis {axis[1]} is out of bounds. {error}" if axis else str(error)) from error


def _operation_class(
    function: Callable, tensors: list[str], spec: Callable | None, name: str, module: str, call: Callable | None
) -> type[FunctionOperation]:
    signature = inspect.signature(function)
    unknown = set(tensors) - set(signature.parameters)
    if unknown:
        raise TypeError(
            f"{function.__name__}{signature} has no arguments {sorted(unknown)}: name those that are tensors."
        )
    static = [parameter for parameter in signature.parameters.values() if parameter.name not in tensors]
    constructor = inspect.Signature([_SELF, *_as_keywords(static), _NAME])

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        FunctionOperation.__init__(self, *args, **kwargs)

    initialize.__signature__ = constructor  # type: ignore[attr-defined]
    return type(
        name,
        (FunctionOperation,),
        {
            "__init__": initialize,
            "__module__": function.__module__,
            "__doc__": f"The operation of `keras.ops.{function.__name__}`.",
            "function": staticmethod(function),
            "spec": None if spec is None else staticmethod(spec),
            "signature": signature,
            "constructor": constructor,
            "tensor_names": tuple(tensors),
            "variadic": next((p.name for p in signature.parameters.values() if p.kind is _VARIADIC), None),
            "static_names": tuple(parameter.name for parameter in static),
            "_keras_location": (f"keras.src.ops.{module}", name, name),
            **({} if call is None else {"call": call}),
        },
    )


def _as_keywords(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Static parameters in an order that a signature accepts: those without a default first."""
    parameters = [p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in parameters]
    return sorted(parameters, key=lambda p: p.default is not inspect.Parameter.empty)


def operation_class(name: str) -> Any:
    """The class of an operation by its name in files, such as `"ExpandDims"`; None where there is none."""
    make_class = CLASS_MAKERS.get({"Abs": "Absolute", "Conj": "Conjugate"}.get(name, name))
    return None if make_class is None else make_class()
