"""The ops as a user of JAX writes them: functions of arrays in Keras's layouts, for XLA to compile.

JAX is imported when the first of them is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def _jax() -> tuple[Any, Any, Any]:
    return tuple(importlib.import_module(f"jax{name}") for name in ("", ".numpy", ".lax"))  # type: ignore[return-value]


def dense(activation: str | None) -> Function:
    """A product, a bias, an activation."""
    jax, _, _ = _jax()
    functions = {"relu": jax.nn.relu, "gelu": lambda y: jax.nn.gelu(y, approximate=False), None: lambda y: y}
    return lambda x, kernel, bias: functions[activation](x @ kernel + bias)


def conv2d(strides: int, padding: int) -> Function:
    """A convolution with bias and ReLU."""
    jax, _, lax = _jax()
    options = {
        "window_strides": (strides, strides),
        "padding": ((padding, padding),) * 2,
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
    }
    return lambda x, kernel, bias: jax.nn.relu(lax.conv_general_dilated(x, kernel, **options) + bias)


def max_pool2d() -> Function:
    """Windows of 2 x 2."""
    _, numpy, lax = _jax()
    return lambda x: lax.reduce_window(x, -numpy.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def layer_norm(epsilon: float) -> Function:
    """Over the last axis."""
    _, _, lax = _jax()

    def call(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gamma + beta

    return call


def batch_norm(epsilon: float) -> Function:
    """Over all axes but the last."""
    _, _, lax = _jax()

    def call(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - x.mean((0, 1, 2))
        return centred * lax.rsqrt((centred**2).mean((0, 1, 2)) + epsilon) * gamma + beta

    return call


def cross_entropy() -> Function:
    """Of logits and class numbers."""
    jax, numpy, _ = _jax()

    def call(logits: Any, labels: Any) -> Any:
        return -numpy.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

    return call


def lstm() -> Function:
    """A scan over the steps; the last output."""
    jax, numpy, lax = _jax()

    def call(x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        def step(state: Any, gates: Any) -> Any:
            h, c = state
            i, f, n, o = numpy.split(gates + h @ recurrent_kernel, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * numpy.tanh(n)
            return (jax.nn.sigmoid(o) * numpy.tanh(c), c), None

        start = numpy.zeros((x.shape[0], recurrent_kernel.shape[0]), x.dtype)
        return lax.scan(step, (start, start), numpy.swapaxes(x @ kernel + bias, 0, 1))[0][0]

    return call
