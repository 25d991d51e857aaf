"""Which activations can be part of another computation (a matrix product, a convolution)."""

from __future__ import annotations

from typing import Any

from fastk.activations import functions

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
