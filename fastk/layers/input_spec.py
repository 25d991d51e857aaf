"""What a layer expects of its inputs, checked at every call."""

from __future__ import annotations

from typing import Any

from fastk import dtypes, tree
from fastk.variable import standardize_shape


class InputSpec:
    """Rank, shape and dtype that an input must have; what is None is not checked.

    Args:
        dtype: the dtype's name.
        shape: sizes, None for any.
        ndim, max_ndim, min_ndim: bounds of the rank.
        axes: `{axis: size}` for single axes.
        allow_last_axis_squeeze: whether a last axis of size 1 may be missing or added.
        name: the key of the input where inputs are passed as a dict.
        optional: whether None may be passed.

    >>> import fastk
    >>> fastk.InputSpec(ndim=4, axes={-1: 3})
    InputSpec(ndim=4, axes={-1: 3})
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype = None if dtype is None else dtypes.standardize_dtype(dtype)
        self.shape = None if shape is None else standardize_shape(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.name, self.optional = name, optional
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        try:
            self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        except (ValueError, TypeError, AttributeError):
            raise TypeError(f"Argument `axes` must be a dict with integer keys. Received: axes={axes}") from None
        limit = self.ndim if self.ndim is not None else max_ndim
        if self.axes and limit is not None and max(self.axes) > limit - 1:
            raise ValueError(f"Axis {max(self.axes)} is greater than the maximum allowed value: {limit - 1}")

    def __repr__(self) -> str:
        shown = {
            key: getattr(self, key) for key in ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
            if getattr(self, key) not in (None, {})
        }  # fmt: skip
        return f"InputSpec({', '.join(f'{key}={value}' for key, value in shown.items())})"

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """A specification from `get_config`'s result."""
        return cls(**config)

    def problem(self, x: Any, shape: tuple) -> str | None:
        """What is wrong with `x`, as the end of a sentence; None where nothing is."""
        ndim = len(shape)
        if self.ndim is not None and ndim != self.ndim and not self.allow_last_axis_squeeze:
            return f"expected ndim={self.ndim}, found ndim={ndim}. Full shape received: {shape}"
        if self.max_ndim is not None and ndim > self.max_ndim:
            return f"expected max_ndim={self.max_ndim}, found ndim={ndim}"
        if self.min_ndim is not None and ndim < self.min_ndim:
            return f"expected min_ndim={self.min_ndim}, found ndim={ndim}. Full shape received: {shape}"
        if self.dtype is not None and dtypes.standardize_dtype(x.dtype) != self.dtype:
            return f"expected dtype={self.dtype}, found dtype={dtypes.standardize_dtype(x.dtype)}"
        for axis, size in self.axes.items():
            if size is not None and shape[axis] is not None and shape[axis] != size:
                return (
                    f"expected axis {axis} of input shape to have value {size}, but received input with shape {shape}"
                )
        if self.shape is not None:
            expected, found = self.shape, shape
            if self.allow_last_axis_squeeze:
                expected, found = (s[:-1] if s and s[-1] == 1 else s for s in (expected, found))
            if any(a is not None and b is not None and a != b for a, b in zip(expected, found, strict=False)):
                return f"expected shape={self.shape}, found shape={shape}"
        return None


def assert_input_compatibility(spec: Any, inputs: Any, layer_name: str) -> None:
    """Raises `ValueError` naming the layer, what was expected and what was received, unless `inputs` fit `spec`."""
    if isinstance(spec, InputSpec) and hasattr(inputs, "shape"):
        _check(spec, inputs, 0, layer_name)
        return
    specs = tree.flatten(spec)
    if isinstance(inputs, dict):
        names = [s.name for s in specs]
        if all(names):
            missing = [name for name in names if name not in inputs]
            if missing:
                raise ValueError(
                    f'Missing data for input "{missing[0]}". You passed a data dictionary with keys {list(inputs)}. '
                    f"Expected the following keys: {names}"
                )
            inputs = [inputs[name] for name in names]
    flat = tree.flatten(inputs)
    if len(flat) != len(specs):
        names = [s.name for s in specs if s is not None and s.name]
        keys = f" with the keys {names}" if len(names) == len(specs) else ""
        shapes = [tuple(x.shape) if hasattr(x, "shape") else x for x in flat]
        raise ValueError(
            f'Layer "{layer_name}" expects {len(specs)} input(s){keys}, but it received {len(flat)} input tensors. '
            f"Inputs received: {shapes}"
        )
    for index, (x, one) in enumerate(zip(flat, specs, strict=True)):
        if one is not None and not (x is None and one.optional):
            _check(one, x, index, layer_name)


def _check(spec: InputSpec, x: Any, index: int, layer_name: str) -> None:
    if not hasattr(x, "shape"):
        raise ValueError(
            f"Inputs to a layer should be tensors. Got '{x}' (of type {type(x)}) as input for layer '{layer_name}'."
        )
    problem = spec.problem(x, tuple(x.shape))
    if problem is not None:
        name = "" if spec.name is None else f" with name '{spec.name}'"
        raise ValueError(f"Input {index}{name} of layer '{layer_name}' is incompatible with the layer: {problem}")
