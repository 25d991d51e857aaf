"""Functions that combine the elements along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import dtypes
from fastk.ops.operands import SMALL_INTEGERS, axes_of, canonical_axis, floatx, is_empty_axis, result_dtype
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
]

Axis = int | tuple[int, ...] | list[int] | None


@operation("x")
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
    """The sum along `axis`, by default of all elements. Booleans and integers below 32 bits are summed in int32.

    >>> from fastk import ops
    >>> ops.sum([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([3., 7.])
    """
    x = convert_to_tensor(x)
    if is_empty_axis(axis):
        return x
    dtype = torch.int32 if x.dtype in SMALL_INTEGERS else x.dtype
    return torch.sum(x, dim=axis, keepdim=keepdims, dtype=dtype)


@operation("x")
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
    """The mean along `axis`, by default of all elements; of integers, floating point.

    >>> from fastk import ops
    >>> ops.mean([[1, 2], [3, 4]], axis=0)
    tensor([2., 3.])
    """
    x = convert_to_tensor(x)
    if is_empty_axis(axis):
        return x
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(result_dtype(x.dtype, "float32"))
    return torch.mean(x, dim=axis, keepdim=keepdims)


@operation("x")
def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> torch.Tensor:
    """The product along `axis`, by default of all elements; dtypes as in `sum`."""
    x = convert_to_tensor(x)
    target = (
        dtypes.to_torch_dtype(dtype) if dtype is not None else torch.int32 if x.dtype in SMALL_INTEGERS else x.dtype
    )
    x = x.to(target)
    for a in sorted(axes_of(axis, x.ndim), reverse=True):
        x = torch.prod(x, dim=a, keepdim=keepdims, dtype=target)
    return x


@operation("x")
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
    """The variance along `axis`: the mean of the squared distances from the mean."""
    x = convert_to_tensor(x)
    result = result_dtype(x.dtype, float)
    if is_empty_axis(axis):
        return torch.zeros_like(x, dtype=result)
    return torch.var(x.to(result_dtype(x.dtype, "float32")), dim=axis, keepdim=keepdims, correction=0).to(result)


@operation("x")
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
    """The standard deviation along `axis`: the square root of `var`."""
    x = convert_to_tensor(x)
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(floatx())
    if is_empty_axis(axis):
        return torch.zeros_like(x)
    return torch.std(x, dim=axis, keepdim=keepdims, correction=0)


def _boolean(name: str, function: Callable, doc: str) -> Callable:
    def reduce(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
        x = convert_to_tensor(x)
        if is_empty_axis(axis):
            return x.to(torch.bool)
        axis = tuple(axis) if isinstance(axis, list) else axis
        return function(x, dim=axis, keepdim=keepdims).to(torch.bool)

    return operation("x")(_named(reduce, name, doc))


def _extreme(name: str, function: Callable, doc: str) -> Callable:
    def reduce(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
        x = convert_to_tensor(x)
        if is_empty_axis(axis):
            return x
        return function(x, dim=() if axis is None else axis, keepdim=keepdims)

    return operation("x")(_named(reduce, name, doc))


def _extreme_or_initial(name: str, function: Callable, combine: Callable, doc: str) -> Callable:
    def reduce(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> torch.Tensor:
        x = convert_to_tensor(x)
        if x.numel() == 0:
            if initial is None:
                raise ValueError(f"Cannot compute the {name} of an empty tensor.")
            # Of no elements the extreme is `initial`; a sum has the shape of the result.
            return torch.sum(x, dim=axis, keepdim=keepdims).to(x.dtype).fill_(initial)
        if is_empty_axis(axis):
            return x
        result = function(x, dim=() if axis is None else axis, keepdim=keepdims)
        return result if initial is None else combine(result, convert_to_tensor(initial, dtype=result.dtype))

    return operation("x")(_named(reduce, name, doc))


def _position(name: str, function: Callable, doc: str) -> Callable:
    def reduce(x: Any, axis: int | None = None, keepdims: bool = False) -> torch.Tensor:
        x = convert_to_tensor(x)
        if x.dtype is torch.bool:
            x = x.to(torch.uint8)
        return function(x, dim=axis, keepdim=keepdims).to(torch.int32)

    return operation("x")(_named(reduce, name, doc))


def _cumulative(name: str, function: Callable, doc: str) -> Callable:
    def accumulate(x: Any, axis: int | None = None, dtype: Any = None) -> torch.Tensor:
        x = convert_to_tensor(x)
        if axis is None:
            x, axis = x.flatten(), 0
        target = x.dtype if dtype is None else dtypes.to_torch_dtype(dtype)
        return function(x, dim=canonical_axis(axis, x.ndim), dtype=torch.int32 if target is torch.bool else target)

    return operation("x")(_named(accumulate, name, doc))


def _named(function: Callable, name: str, doc: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


all = _boolean("all", torch.all, "Whether all elements along `axis` are true.")
any = _boolean("any", torch.any, "Whether an element along `axis` is true.")
amax = _extreme("amax", torch.amax, "The largest element along `axis`.")
amin = _extreme("amin", torch.amin, "The smallest element along `axis`.")
max = _extreme_or_initial("max", torch.amax, torch.maximum, "The largest of `initial` and the elements along `axis`.")
min = _extreme_or_initial("min", torch.amin, torch.minimum, "The smallest of `initial` and the elements along `axis`.")
argmax = _position(
    "argmax", torch.argmax, "The index of the largest element along `axis`, by default in the flat tensor."
)
argmin = _position(
    "argmin", torch.argmin, "The index of the smallest element along `axis`, by default in the flat tensor."
)
cumsum = _cumulative("cumsum", torch.cumsum, "The running sum along `axis`, by default of the flat tensor.")
cumprod = _cumulative("cumprod", torch.cumprod, "The running product along `axis`, by default of the flat tensor.")


@operation("x")
def count_nonzero(x: Any, axis: Axis = None) -> torch.Tensor:
    """The number of elements along `axis` that are not 0."""
    x = convert_to_tensor(x)
    if is_empty_axis(axis):
        return torch.ne(x, 0).to(torch.int32)
    return torch.count_nonzero(x, dim=axis).to(torch.int32)


@operation("x weights")
def average(x: Any, axis: Axis = None, weights: Any = None) -> torch.Tensor:
    """The mean along `axis`, each element counted by its weight.

    Args:
        x: tensor.
        axis: what is averaged over; by default everything.
        weights: of the shape of `x`, or one for each index of `axis`.
    """
    x = convert_to_tensor(x)
    if weights is None:
        x = x.to(result_dtype(x.dtype, float))
        return x if is_empty_axis(axis) else torch.mean(x, dim=axis)
    weights = convert_to_tensor(weights)
    dtype = result_dtype(x.dtype, weights.dtype, float)
    x, weights = x.to(dtype), weights.to(dtype)
    if is_empty_axis(axis):
        return x
    if weights.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        shape = [1] * x.ndim
        shape[axis] = -1
        weights = weights.reshape(shape)
    weights = torch.broadcast_to(weights, x.shape)
    return torch.sum(x * weights, dim=axis) / torch.sum(weights, dim=axis)


@operation("x")
def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
    """The largest minus the smallest element along `axis`."""
    x = convert_to_tensor(x)
    if is_empty_axis(axis):
        return torch.zeros_like(x)
    dims = () if axis is None else axis
    return torch.amax(x, dim=dims, keepdim=keepdims) - torch.amin(x, dim=dims, keepdim=keepdims)
