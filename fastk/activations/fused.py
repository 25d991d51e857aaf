"""Which activations can be part of another computation (a matrix product, a convolution)."""

from __future__ import annotations

import inspect
from typing import Any

from fastk.activations import functions
from fastk.naming import to_snake_case

# By function, with its default arguments: the name in the table of `fastk.kernels.activation`.
_NAMES: dict[Any, str] = {
    None: "linear",
    functions.linear: "linear",
    functions.relu: "relu",
    functions.relu6: "relu6",
    functions.leaky_relu: "leaky_relu",
    functions.elu: "elu",
    functions.selu: "selu",
    functions.gelu: "gelu",
    functions.silu: "silu",
    functions.sigmoid: "sigmoid",
    functions.tanh: "tanh",
    functions.softplus: "softplus",
    functions.hard_sigmoid: "hard_sigmoid",
    functions.mish: "mish",
}
_FUNCTIONS = {name: function for function, name in _NAMES.items() if function not in (None, functions.relu)}
_FUNCTIONS["relu"] = lambda x: functions.relu(x)  # `keras.ops.relu` has no arguments


def fused_name(activation: Any) -> str | None:
    """The name that kernels know `activation` by; None where they do not know it.

    >>> from fastk import activations
    >>> activations.fused_name(activations.relu), activations.fused_name(activations.softmax)
    ('relu', None)
    """
    try:
        return _NAMES.get(activation)
    except TypeError:  # a callable that cannot be a key
        return None


def fused_operation_name(class_name: str, arguments: dict[str, Any]) -> str | None:
    """`fused_name` of an operation of `keras.ops`: its class's name, and the arguments that it was made with.

    >>> from fastk.activations.fused import fused_operation_name
    >>> fused_operation_name("LeakyRelu", {"negative_slope": 0.2}), fused_operation_name("LeakyRelu", {})
    ('leaky_relu', None)
    """
    name = to_snake_case(class_name)
    function = _FUNCTIONS.get(name)
    if function is None:
        return None
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return name if arguments == {p.name: p.default for p in parameters} else None
