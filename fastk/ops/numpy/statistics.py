"""Quantiles, correlations, differences and sums along diagonals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config, dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import SMALL_INTEGERS, axes_of, canonical_axis, dtype_of, floating, floatx, result_dtype
from fastk.ops.registration import operation
from fastk.ops.shapes import diagonal_shape, shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "bartlett",
    "blackman",
    "corrcoef",
    "correlate",
    "diff",
    "hamming",
    "hanning",
    "kaiser",
    "median",
    "percentile",
    "quantile",
    "quantile_by",
    "quantile_spec",
    "trace",
    "trapezoid",
    "vander",
]


def _reduced(shape: Any, axis: Any, keepdims: bool) -> tuple[int | None, ...]:
    axes = axes_of(axis, len(shape))
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def quantile_spec(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> KerasTensor:
    """The spec of quantiles: the dimension of `q`, if it has one, stands first."""
    shape = (*shape_of(q), *_reduced(x.shape, axis, keepdims))
    return KerasTensor(shape, dtype=dtypes.result_type(x.dtype, float))


def quantile_by(function: Callable, x: Any, q: Any, axis: Any, method: str, keepdims: bool) -> torch.Tensor:
    """`torch.quantile` or `torch.nanquantile` over several axes."""
    x = convert_to_tensor(x)
    result = result_dtype(x.dtype, float)
    compute = result_dtype(x.dtype, "float32")
    q = convert_to_tensor(q, dtype=compute)
    axes = axes_of(axis, x.ndim)
    others = [i for i in range(x.ndim) if i not in axes]
    flat = x.to(compute).permute(*others, *axes).reshape(*(x.shape[i] for i in others), -1)
    y = function(flat, q, dim=-1, interpolation=method)
    if keepdims:
        y = y.reshape(*q.shape, *(1 if i in axes else n for i, n in enumerate(x.shape)))
    return y.to(result)


@operation("x q", spec=quantile_spec)
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> torch.Tensor:
    """The value below which the share `q` of the elements along `axis` lies.

    Args:
        x: tensor.
        q: in [0, 1], a number or a vector.
        axis: one axis or several; by default all.
        method: `"linear"`, `"lower"`, `"higher"`, `"midpoint"` or `"nearest"`, for a value between two elements.
        keepdims: whether the axes stay, with size 1.

    >>> from fastk import ops
    >>> ops.quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    tensor(2.5000)
    """
    return quantile_by(torch.quantile, x, q, axis, method, keepdims)


@operation("x q", spec=quantile_spec)
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> torch.Tensor:
    """`quantile` with `q` in percent."""
    return quantile(x, convert_to_tensor(q, dtype=config.floatx()) / 100.0, axis, method, keepdims)


def _median_spec(x: Any, axis: Any = None, keepdims: bool = False) -> KerasTensor:
    return quantile_spec(x, 0.5, axis, keepdims=keepdims)


@operation("x", spec=_median_spec)
def median(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """The middle element along `axis`, or the mean of the two middle ones."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


def _corrcoef_spec(x: Any) -> KerasTensor:
    dtype = dtypes.result_type(x.dtype, float) if dtypes.standardize_dtype(x.dtype) != "int64" else "float64"
    if len(x.shape) == 2:
        return KerasTensor((x.shape[0], x.shape[0]), dtype=dtype)
    return KerasTensor((), dtype=dtype)


@operation("x", spec=_corrcoef_spec)
def corrcoef(x: Any) -> torch.Tensor:
    """Pearson's correlation coefficients of the rows of `x`."""
    x = convert_to_tensor(x)
    return torch.corrcoef(x.double() if x.dtype is torch.int64 else floating(x))


def _correlate_dtype(*kinds: Any) -> str:
    dtype = dtypes.result_type(*kinds)
    return "float64" if dtype == "int64" else dtype if "float" in dtype else "float32"


def _correlate_spec(x1: Any, x2: Any, mode: str = "valid") -> KerasTensor:
    first, second = shape_of(x1), shape_of(x2)
    if len(first) != 1 or len(second) != 1:
        raise ValueError(f"`x1` and `x2` must be 1-dimensional tensors, but received shapes {first} and {second}.")
    if None in (*first, *second):
        size = None
    else:
        n, k = max(first[0], second[0]), min(first[0], second[0])  # type: ignore[type-var]
        size = {"valid": n - k + 1, "same": n, "full": n + k - 1}[_check_mode(mode)]  # type: ignore[operator]
    return KerasTensor((size,), dtype=_correlate_dtype(dtype_of(x1), dtype_of(x2)))


def _check_mode(mode: str) -> str:
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"mode must be either `valid`, `same`, or `full`, but received: {mode}")
    return mode


@operation("x1 x2", spec=_correlate_spec)
def correlate(x1: Any, x2: Any, mode: str = "valid") -> torch.Tensor:
    """The cross-correlation of two vectors: `sum_n x1[n + k] x2[n]` for each shift k.

    Args:
        x1, x2: vectors.
        mode: the shifts: `"valid"`, where one lies wholly inside the other; `"same"`, as many as the longer has
            elements; `"full"`, where they touch.
    """
    dtype = dtypes.to_torch_dtype(_correlate_dtype(dtype_of(x1), dtype_of(x2)))
    x1, x2 = convert_to_tensor(x1, dtype=dtype), convert_to_tensor(x2, dtype=dtype)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(
            f"`x1` and `x2` must be 1-dimensional tensors, but received shapes {tuple(x1.shape)} and {tuple(x2.shape)}."
        )
    full = F.conv1d(x1[None, None], x2[None, None], padding=x2.shape[0] - 1).flatten()
    n, k = max(x1.shape[0], x2.shape[0]), min(x1.shape[0], x2.shape[0])
    size = {"valid": n - k + 1, "same": n, "full": n + k - 1}[_check_mode(mode)]
    start = (full.shape[0] - size) // 2
    return full[start : start + size]


def _diff_spec(a: Any, n: int = 1, axis: int = -1) -> KerasTensor:
    shape = list(a.shape)
    axis = canonical_axis(axis, len(shape))
    if shape[axis] is not None:
        shape[axis] = max(shape[axis] - n, 0)
    return KerasTensor(shape, dtype=a.dtype)


@operation("a", spec=_diff_spec)
def diff(a: Any, n: int = 1, axis: int = -1) -> torch.Tensor:
    """Each element along `axis` minus the one before it, `n` times over."""
    return torch.diff(convert_to_tensor(a), n=n, dim=axis)


@operation("y")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> torch.Tensor:
    """The integral of `y` along `axis` by the trapezoidal rule.

    Args:
        y: the function's values.
        x: the points that they belong to; by default points at distances of `dx`.
        dx: their distance.
        axis: what is integrated along.
    """
    y = convert_to_tensor(y)
    y = y if y.is_floating_point() else y.to(result_dtype(y.dtype, float))
    if x is not None:
        return torch.trapezoid(y, x=convert_to_tensor(x, dtype=y.dtype), dim=axis)
    return torch.trapezoid(y, dx=dx, dim=axis)


def _trace_spec(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> KerasTensor:
    dtype = dtypes.standardize_dtype(x.dtype)
    dtype = "int32" if dtypes.to_torch_dtype(dtype) in SMALL_INTEGERS else dtype
    return KerasTensor(diagonal_shape(x.shape, offset, axis1, axis2)[:-1], dtype=dtype)


@operation("x", spec=_trace_spec)
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> torch.Tensor:
    """The sum along the diagonals of the matrices that `axis1` and `axis2` span; small integers as int32."""
    x = convert_to_tensor(x)
    dtype = torch.int32 if x.dtype in SMALL_INTEGERS else x.dtype
    return torch.sum(torch.diagonal(x, offset, axis1, axis2), dim=-1, dtype=dtype)


@operation("x")
def vander(x: Any, N: int | None = None, increasing: bool = False) -> torch.Tensor:  # noqa: N803 - Keras's name
    """The Vandermonde matrix: the powers of each element of a vector, `N` columns, the highest power first."""
    x = convert_to_tensor(x)
    return torch.vander(x, N=N, increasing=increasing).to(x.dtype)


# ---------------------------------------------------------------- windows of signals


def _window(name: str, function: Callable, doc: str) -> Callable:
    def window(x: Any) -> torch.Tensor:
        return function(int(x))

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"{doc} window of `x` points, symmetric."
    return window


def _cosines(count: int, *weights: float) -> torch.Tensor:
    """A sum of cosines with alternating signs."""
    if count <= 1:
        return torch.ones(max(count, 0), dtype=floatx())
    phase = 2 * math.pi * torch.arange(count, dtype=torch.float64) / (count - 1)
    terms = [(-1) ** k * weight * torch.cos(k * phase) for k, weight in enumerate(weights)]
    return torch.stack(terms).sum(0).to(convert_to_tensor(0.0))


def _bartlett(count: int) -> torch.Tensor:
    if count <= 1:
        return torch.ones(max(count, 0), dtype=floatx())
    places = torch.arange(count, dtype=torch.float64)
    return (1 - (2 * places / (count - 1) - 1).abs()).to(convert_to_tensor(0.0))


bartlett = _window("bartlett", _bartlett, "The triangular (Bartlett)")
blackman = _window("blackman", lambda n: _cosines(n, 0.42, 0.5, 0.08), "The Blackman")
hamming = _window("hamming", lambda n: _cosines(n, 0.54, 0.46), "The Hamming")
hanning = _window("hanning", lambda n: _cosines(n, 0.5, 0.5), "The Hann")


def kaiser(x: Any, beta: float) -> torch.Tensor:
    """The Kaiser window of `x` points, symmetric; a larger `beta` makes it narrower."""
    return torch.kaiser_window(int(x), periodic=False, beta=float(beta), dtype=torch.float64).to(convert_to_tensor(0.0))
