"""Checks of constructor arguments, and base classes, that many layers share."""

from __future__ import annotations

from typing import Any

from fastk.graph import KerasTensor
from fastk.layers.layer import Layer


def standardize_tuple(value: Any, n: int, name: str, allow_zero: bool = False) -> tuple[int, ...]:
    """`value`, an integer or `n` of them, as a tuple of `n` integers.

    Raises:
        ValueError: another length, other types, or values that are not positive (negative, with `allow_zero`).

    >>> from fastk.layers.arguments import standardize_tuple
    >>> standardize_tuple(3, 2, "kernel_size")
    (3, 3)
    """
    message = f"The `{name}` argument must be a tuple of {n} integers. Received {name}={value}"
    if isinstance(value, int):
        sizes = (value,) * n
    else:
        try:
            sizes = tuple(value)
        except TypeError:
            raise ValueError(message) from None
        if len(sizes) != n:
            raise ValueError(message)
        for size in sizes:
            try:
                int(size)
            except (ValueError, TypeError):
                raise ValueError(f"{message} including element {size} of type {type(size)}") from None
    bad = {size for size in sizes if size < (0 if allow_zero else 1)}
    if bad:
        expected = ">= 0" if allow_zero else "> 0"
        raise ValueError(f"{message}, including values {bad} that do not satisfy `value {expected}`")
    return sizes


def standardize_padding(value: Any, allow_causal: bool = False) -> str:
    """`value` in lower case: `"valid"`, `"same"` or, where allowed, `"causal"`."""
    allowed = ("valid", "same", "causal") if allow_causal else ("valid", "same")
    padding = value.lower() if isinstance(value, str) else value
    if padding not in allowed:
        raise ValueError(f"The `padding` argument must be one of {', '.join(map(repr, allowed))}. Received: {value!r}")
    return padding


def checked_rate(name: str, value: Any) -> Any:
    """`value`, if it is a number between 0 and 1."""
    if not 0 <= value <= 1:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected a float value between 0 and 1. Received: "
            f"{name}={value}"
        )
    return value


def require_none(**arguments: Any) -> None:
    """Raises `ValueError` for an argument that Keras has and fastk does not support, unless it is None."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"Argument `{name}` is not supported: leave it at None. Received: {name}={value}")


def checked_axes(axis: Any, input_shape: Any) -> None:
    """Raises `ValueError` unless every axis is one of a tensor of `input_shape`."""
    for one in axis if isinstance(axis, (list, tuple)) else (axis,):
        if not -len(input_shape) <= one < len(input_shape):
            raise ValueError(f"Axis {one} is out of bounds for input shape {input_shape}. Received: axis={axis}")


class SameShapeLayer(Layer):
    """Base of layers without weights whose output has the input's shape; masks pass through them."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._build_at_init()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        return input_shape


class SameDtypeLayer(Layer):
    """Base of layers that move, repeat or select values: the output has the input's dtype, whatever that is."""

    def compute_output_spec(self, inputs: Any) -> Any:
        """A KerasTensor like the output."""
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)
