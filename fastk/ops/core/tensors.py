"""Conversion, shapes and dtypes, and reading and writing parts of tensors."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fastk import dtypes, tree
from fastk import tensor as tensors
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import canonical_axis
from fastk.ops.registration import is_symbolic, operation
from fastk.ops.shapes import shape_of
from fastk.tensor import is_tensor

__all__ = [
    "cast",
    "convert_to_numpy",
    "convert_to_tensor",
    "custom_gradient",
    "dtype",
    "is_tensor",
    "saturate_cast",
    "scatter",
    "scatter_update",
    "shape",
    "slice",
    "slice_update",
    "stop_gradient",
    "unstack",
]


def shape(x: Any) -> tuple[int | None, ...]:
    """The sizes of `x`, a tuple; None where a KerasTensor's is not known.

    >>> from fastk import ops
    >>> ops.shape(ops.zeros((8, 12)))
    (8, 12)
    """
    return shape_of(x)


def dtype(x: Any) -> str:
    """The name of the dtype of `x`.

    >>> from fastk import ops
    >>> ops.dtype(ops.zeros((8, 12)))
    'float32'
    """
    return dtypes.standardize_dtype(x.dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values of `x` as a NumPy array, in memory of its own: what a variable is assigned later is not seen in it."""
    return np.asarray(x) if is_symbolic(x) else np.array(tensors.convert_to_numpy(x))


def _as_dtype(x: Any, dtype: Any = None, **options: Any) -> KerasTensor:
    return KerasTensor(x.shape, dtype=x.dtype if dtype is None else dtypes.standardize_dtype(dtype))


@operation("x", spec=_as_dtype)
def convert_to_tensor(
    x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None
) -> torch.Tensor:
    """`x`, a tensor, variable, array, number or nested lists of those, as a tensor on the current device.

    Args:
        x: the values.
        dtype: by default that of `x`; `floatx()` for Python floats, int32 for Python integers.
        sparse, ragged: not supported; must be False or None.
    """
    return tensors.to_boundary(tensors.convert_to_tensor(x, dtype=dtype, sparse=sparse, ragged=ragged))


def _cast_spec(x: Any, dtype: Any) -> KerasTensor:
    return KerasTensor(x.shape, dtype=dtypes.standardize_dtype(dtype))


@operation("x", spec=_cast_spec)
def cast(x: Any, dtype: Any) -> torch.Tensor:
    """`x` in another dtype.

    >>> from fastk import ops
    >>> ops.cast([0.5, 1.5], "int32").tolist()
    [0, 1]
    """
    return tensors.convert_to_tensor(x, dtype=dtypes.to_torch_dtype(dtype))


@operation("x", spec=_cast_spec)
def saturate_cast(x: Any, dtype: Any) -> torch.Tensor:
    """`x` in another dtype, values outside of its range replaced by the nearest that it has."""
    x = tensors.convert_to_tensor(x)
    target = dtypes.to_torch_dtype(dtype)
    if target is torch.bool or x.dtype is torch.bool:
        return x.to(target)
    if target.is_floating_point and not x.is_floating_point():
        return x.to(target)
    bounds = torch.finfo(target) if target.is_floating_point else torch.iinfo(target)
    own = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    low, high = max(bounds.min, own.min), min(bounds.max, own.max)
    if x.is_floating_point() and not target.is_floating_point:
        low, high = _representable(low, x.dtype, bounds), _representable(high, x.dtype, bounds)
    return torch.clamp(x, low, high).to(target)


def _representable(limit: float, dtype: torch.dtype, bounds: Any) -> float:
    """The value of `dtype` nearest to an integer `limit` that is not beyond it."""
    near = torch.tensor(limit, dtype=torch.float64).to(dtype)
    if not bounds.min <= int(near.item()) <= bounds.max:
        near = (
            torch.nextafter(near.float(), torch.tensor(0.0))
            if dtype is not torch.float64
            else torch.nextafter(near, near * 0)
        )
        near = near.to(dtype)
    return near.item()


@operation("variable")
def stop_gradient(variable: Any) -> torch.Tensor:
    """`variable` as a constant: no gradient flows back through it."""
    return tensors.convert_to_tensor(variable).detach()


def _unstack_spec(x: Any, num: int | None = None, axis: int = 0) -> list[KerasTensor]:
    axis = canonical_axis(axis, len(x.shape))
    count = x.shape[axis] if num is None else num
    if count is None:
        raise ValueError(
            f"Cannot infer argument `num` from shape {x.shape}. Either provide a tensor with a concrete shape in the "
            "`axis` dimension or explicitly pass the `num` argument."
        )
    return [KerasTensor(x.shape[:axis] + x.shape[axis + 1 :], dtype=x.dtype) for _ in range(count)]


@operation("x", spec=_unstack_spec)
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[torch.Tensor]:
    """The parts of `x` along `axis`, without that axis.

    Args:
        x: tensor.
        num: their number, where the size of a KerasTensor is not known.
        axis: the axis.
    """
    parts = tensors.convert_to_tensor(x).unbind(axis)
    if num is not None and num != len(parts):
        raise ValueError(f"`num` must be the size of axis {axis}, which is {len(parts)}. Received: num={num}")
    return list(parts)


# ---------------------------------------------------------------- writing and reading parts


def _scatter_spec(indices: Any, values: Any, shape: Sequence[int]) -> KerasTensor:
    return KerasTensor(shape, dtype=values.dtype)


@operation("indices values", spec=_scatter_spec)
def scatter(indices: Any, values: Any, shape: Sequence[int]) -> torch.Tensor:
    """Zeros of `shape` to which `values` are added at `indices`.

    Args:
        indices: integers (..., k): positions along the first k dimensions.
        values: (..., *shape[k:]), what is added there.
        shape: of the result.

    >>> from fastk import ops
    >>> ops.scatter([[0], [2], [2]], [1.0, 2.0, 3.0], (4,))
    tensor([1., 0., 5., 0.])
    """
    values = tensors.convert_to_tensor(values)
    sizes = tuple(int(n) for n in shape)
    return _scatter_into(torch.zeros(sizes, dtype=values.dtype, device=values.device), indices, values, "add")


def _scatter_into(base: torch.Tensor, indices: Any, updates: torch.Tensor, reduction: str | None) -> torch.Tensor:
    indices = tensors.convert_to_tensor(indices, dtype="int64")
    depth = indices.shape[-1]
    indices = indices.reshape(-1, depth)
    updates = torch.broadcast_to(updates, (*updates.shape[: updates.ndim - (base.ndim - depth)], *base.shape[depth:]))
    updates = updates.reshape(-1, *base.shape[depth:])
    if reduction in (None, "add"):
        return base.index_put(tuple(indices.unbind(1)), updates, accumulate=reduction == "add")
    # Positions along the first dimensions as one position in their product.
    rows = torch.zeros_like(indices[:, 0])
    for size, position in zip(base.shape[:depth], indices.unbind(1), strict=True):
        rows = rows * size + torch.where(position < 0, position + size, position)
    flat = base.reshape(math.prod(base.shape[:depth]), -1)
    updates = updates.reshape(updates.shape[0], -1)
    index = rows[:, None].expand_as(updates)
    return flat.scatter_reduce(0, index, updates, reduce=_REDUCTIONS[reduction]).reshape(base.shape)


_REDUCTIONS = {"max": "amax", "min": "amin", "mul": "prod"}


def _like_inputs(inputs: Any, *args: Any, **kwargs: Any) -> KerasTensor:
    return KerasTensor(inputs.shape, dtype=inputs.dtype)


@operation("inputs indices updates", spec=_like_inputs)
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> torch.Tensor:
    """`inputs` with the values at `indices` replaced by `updates`, or combined with them.

    Args:
        inputs: tensor.
        indices: integers (n, k): positions along the first k dimensions.
        updates: (n, *inputs.shape[k:]).
        reduction: None, `"add"`, `"max"`, `"min"` or `"mul"`: what is done with the old value and each new one.

    >>> from fastk import ops
    >>> ops.scatter_update([1.0, 2.0, 3.0], [[0], [2]], [9.0, 8.0])
    tensor([9., 2., 8.])
    """
    if reduction not in (None, "add", *_REDUCTIONS):
        raise ValueError(f"Unsupported reduction: {reduction}. Expected None, 'add', 'max', 'min' or 'mul'.")
    inputs = tensors.convert_to_tensor(inputs)
    return _scatter_into(inputs, indices, tensors.convert_to_tensor(updates, dtype=inputs.dtype), reduction)


def _slice_spec(inputs: Any, start_indices: Any, shape: Sequence[int]) -> KerasTensor:
    if len(shape) != len(inputs.shape):
        raise ValueError(
            "The number of dimensions in `inputs` must match the number of dimensions in `shape`. "
            f"Received inputs.shape={inputs.shape} and shape={shape}"
        )
    if isinstance(start_indices, (list, tuple)) and len(start_indices) != len(inputs.shape):
        raise ValueError(
            "The number of dimensions in `start_indices` must match the number of dimensions in `inputs`. Received "
            f"start_indices={start_indices} and inputs.shape={inputs.shape}"
        )
    sizes: list[int | None] = []
    for i, (whole, part) in enumerate(zip(inputs.shape, shape, strict=True)):
        if part != -1:
            sizes.append(part)
        else:
            sizes.append(None if whole is None or is_symbolic(start_indices) else whole - int(start_indices[i]))
    return KerasTensor(sizes, dtype=inputs.dtype)


@operation("inputs start_indices", spec=_slice_spec)
def slice(inputs: Any, start_indices: Any, shape: Sequence[int]) -> torch.Tensor:
    """The part of `inputs` of the given `shape` that begins at `start_indices`, which may be a tensor.

    Args:
        inputs: tensor.
        start_indices: one index for each dimension.
        shape: the part's sizes; -1 reaches to the end, where the start is a Python number.
    """
    inputs = tensors.convert_to_tensor(inputs)
    sizes = [int(n) for n in shape]
    for axis, (start, size) in enumerate(zip(start_indices, sizes, strict=True)):
        if isinstance(start, (torch.Tensor, np.ndarray)) and size != -1:
            # By index: the start stays on the device.
            places = tensors.convert_to_tensor(start) + torch.arange(size, device=inputs.device)
            inputs = torch.index_select(inputs, axis, places)
        else:
            start = int(start)
            inputs = torch.narrow(inputs, axis, start, inputs.shape[axis] - start if size == -1 else size)
    return inputs


@operation("inputs start_indices updates", spec=_like_inputs)
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> torch.Tensor:
    """`inputs` with the part that begins at `start_indices` replaced by `updates`."""
    inputs = tensors.convert_to_tensor(inputs)
    updates = tensors.convert_to_tensor(updates, dtype=inputs.dtype)
    if all(isinstance(start, int) for start in start_indices):
        outputs = inputs.clone()
        outputs[tuple(builtins.slice(b, b + n) for b, n in zip(start_indices, updates.shape, strict=True))] = updates
        return outputs
    starts = tensors.convert_to_tensor(start_indices, dtype="int64")
    places = [starts[axis] + torch.arange(n, device=inputs.device) for axis, n in enumerate(updates.shape)]
    grid = tuple(p.reshape(-1, *[1] * (len(places) - 1 - axis)) for axis, p in enumerate(places))
    return inputs.index_put(grid, updates)


# ---------------------------------------------------------------- gradients of the user's own


class _CustomGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable, holder: list, *args: Any) -> Any:
        outputs, ctx.gradient = function(*args)
        ctx.save_for_backward(*(x for x in args if isinstance(x, torch.Tensor)))
        ctx.args = [None if isinstance(x, torch.Tensor) else x for x in args]
        ctx.is_tensor = [isinstance(x, torch.Tensor) for x in args]
        holder.append(outputs)
        return tuple(tree.flatten(outputs))

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        saved = iter(ctx.saved_tensors)
        args = [next(saved) if tensor else x for x, tensor in zip(ctx.args, ctx.is_tensor, strict=True)]
        gradients = _call_gradient(ctx.gradient, args, upstream[0] if len(upstream) == 1 else upstream)
        gradients = gradients if isinstance(gradients, (list, tuple)) else (gradients,)
        if len(gradients) != len(args):
            raise ValueError(
                f"The gradient function of `custom_gradient` must return one gradient for each of the {len(args)} "
                f"arguments. It returned {len(gradients)}."
            )
        return None, None, *gradients


def _call_gradient(gradient: Callable, args: list, upstream: Any) -> Any:
    """Calls `grad(*args, upstream=...)` where the function takes `upstream` beside others, else `grad(upstream)`."""
    import inspect

    parameters = inspect.signature(gradient).parameters
    variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    if "upstream" in parameters and (variadic or len(parameters) > 1):
        return gradient(*args, upstream=upstream)
    return gradient(upstream)


def custom_gradient(f: Callable) -> Callable:
    """A decorator that gives a function a gradient of your own.

    Args:
        f: takes tensors and returns `(outputs, grad)`; `grad(*args, upstream)` or `grad(upstream)` returns the gradient
            with respect to each argument, given that with respect to the outputs.

    >>> import torch
    >>> from fastk import ops
    >>> @ops.custom_gradient
    ... def doubled(x):
    ...     return 2 * x, lambda upstream: 20 * upstream
    >>> x = torch.tensor(1.0, requires_grad=True)
    >>> doubled(x).backward()
    >>> x.grad
    tensor(20.)
    """

    def call(*args: Any) -> Any:
        holder: list = []
        values = [getattr(x, "value", x) if not isinstance(x, torch.Tensor) else x for x in args]
        flat = _CustomGradient.apply(f, holder, *values)
        return tree.pack_sequence_as(holder[0], flat)

    return call
