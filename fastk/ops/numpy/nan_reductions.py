"""The reductions of `reductions.py` that leave NaN out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk.ops.numpy import reductions
from fastk.ops.numpy.statistics import quantile_by, quantile_spec
from fastk.ops.operands import is_empty_axis, result_dtype
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
]


def _without_nan(x: Any, value: float) -> torch.Tensor:
    """`x` with `value` in the place of NaN."""
    x = convert_to_tensor(x)
    return torch.where(torch.isnan(x), value, x) if x.is_floating_point() or x.is_complex() else x


def _all_nan(x: torch.Tensor, axis: Any, keepdims: bool) -> torch.Tensor:
    axis = tuple(range(x.ndim)) if axis is None else axis
    return torch.all(torch.isnan(x), dim=axis, keepdim=keepdims)


@operation("x")
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`sum`, NaN counting as 0."""
    return reductions.sum(_without_nan(x, 0.0), axis=axis, keepdims=keepdims)


@operation("x")
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`prod`, NaN counting as 1."""
    return reductions.prod(_without_nan(x, 1.0), axis=axis, keepdims=keepdims)


@operation("x")
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> torch.Tensor:
    """`cumsum`, NaN counting as 0."""
    return reductions.cumsum(_without_nan(x, 0.0), axis=axis, dtype=dtype)


@operation("x")
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> torch.Tensor:
    """`cumprod`, NaN counting as 1."""
    return reductions.cumprod(_without_nan(x, 1.0), axis=axis, dtype=dtype)


@operation("x")
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`mean` of the elements that are not NaN; NaN where there are none."""
    x = convert_to_tensor(x)
    if is_empty_axis(axis):
        return x
    x = x.to(result_dtype(x.dtype, float))
    return torch.nanmean(x, dim=axis, keepdim=keepdims)


@operation("x")
def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`var` of the elements that are not NaN; NaN where there are none."""
    x = convert_to_tensor(x)
    x = x.to(result_dtype(x.dtype, float))
    if is_empty_axis(axis):
        return torch.where(torch.isnan(x), x, 0.0)
    valid = ~torch.isnan(x)
    distance = torch.where(valid, x - torch.nanmean(x, dim=axis, keepdim=True), 0.0)
    return torch.sum(distance * distance, dim=axis, keepdim=keepdims) / torch.sum(valid, dim=axis, keepdim=keepdims)


@operation("x")
def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`std` of the elements that are not NaN; NaN where there are none."""
    return torch.sqrt(nanvar(x, axis=axis, keepdims=keepdims))


def _extreme(name: str, function: Callable, least: float, doc: str) -> Callable:
    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
        x = convert_to_tensor(x)
        if is_empty_axis(axis):
            return x
        result = function(_without_nan(x, least), axis=axis, keepdims=keepdims)
        return torch.where(_all_nan(x, axis, keepdims), torch.nan, result) if x.is_floating_point() else result

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = doc
    return operation("x")(reduce)


def _position(name: str, function: Callable, least: float, doc: str) -> Callable:
    def reduce(x: Any, axis: int | None = None, keepdims: bool = False) -> torch.Tensor:
        x = convert_to_tensor(x)
        result = function(_without_nan(x, least), axis=axis, keepdims=keepdims)
        return torch.where(_all_nan(x, axis, keepdims), -1, result) if x.is_floating_point() else result

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = doc
    return operation("x")(reduce)


nanmax = _extreme(
    "nanmax", reductions.amax, -torch.inf, "`amax` of the elements that are not NaN; NaN where there are none."
)
nanmin = _extreme(
    "nanmin", reductions.amin, torch.inf, "`amin` of the elements that are not NaN; NaN where there are none."
)
nanargmax = _position(
    "nanargmax", reductions.argmax, -torch.inf, "`argmax` of the elements that are not NaN; -1 where there are none."
)
nanargmin = _position(
    "nanargmin", reductions.argmin, torch.inf, "`argmin` of the elements that are not NaN; -1 where there are none."
)


@operation("x q", spec=quantile_spec)
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> torch.Tensor:
    """`quantile` of the elements that are not NaN."""
    return quantile_by(torch.nanquantile, x, q, axis, method, keepdims)


@operation("x q", spec=quantile_spec)
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> torch.Tensor:
    """`percentile` of the elements that are not NaN."""
    return nanquantile(x, convert_to_tensor(q) / 100.0, axis=axis, method=method, keepdims=keepdims)


@operation("x", spec=lambda x, axis=None, keepdims=False: quantile_spec(x, 0.5, axis, keepdims=keepdims))
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`median` of the elements that are not NaN."""
    if is_empty_axis(axis):
        return convert_to_tensor(x)
    return nanquantile(x, 0.5, axis=axis, keepdims=keepdims)
