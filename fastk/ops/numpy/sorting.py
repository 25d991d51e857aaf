"""Order, search, and counts of values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import canonical_axis, dtype_of, promoted, result_dtype
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "argpartition",
    "argsort",
    "bincount",
    "digitize",
    "histogram",
    "isin",
    "searchsorted",
    "sort",
    "unique",
]


@operation("x")
def sort(x: Any, axis: int | None = -1) -> torch.Tensor:
    """`x` in ascending order along `axis`; with None, of the flat tensor."""
    x = convert_to_tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    return torch.sort(x, dim=canonical_axis(axis, x.ndim)).values


@operation("x")
def argsort(x: Any, axis: int | None = -1) -> torch.Tensor:
    """The indices that sort `x` along `axis`, equal elements in their order; with None, of the flat tensor."""
    x = convert_to_tensor(x)
    x = x.to(torch.uint8) if x.dtype is torch.bool else x
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    return torch.argsort(x, dim=canonical_axis(axis, x.ndim), stable=True).to(torch.int32)


@operation("x")
def argpartition(x: Any, kth: int, axis: int | None = -1) -> torch.Tensor:
    """Indices with which element `kth` is where sorting puts it, smaller ones before it and larger ones after it."""
    if not isinstance(kth, int):
        raise ValueError(f"kth must be an integer. Received: kth={kth}")
    return argsort(x, axis=axis)


def _searchsorted_spec(sorted_sequence: Any, values: Any, side: str = "left") -> KerasTensor:
    _check_vector(sorted_sequence)
    size = shape_of(sorted_sequence)[0]
    wide = size is None or size > torch.iinfo(torch.int32).max
    return KerasTensor(shape_of(values), dtype="int64" if wide else "int32")


def _check_vector(sorted_sequence: Any) -> None:
    if len(shape_of(sorted_sequence)) != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. You can use `keras.ops.vectorized_map` to extend it to "
            f"N-D sequences. Received: sorted_sequence.shape={shape_of(sorted_sequence)}"
        )


@operation("sorted_sequence values", spec=_searchsorted_spec, name="SearchSorted")
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> torch.Tensor:
    """Where each value would be inserted to keep the order; among equal ones at the `"left"` or `"right"` end.

    >>> from fastk import ops
    >>> ops.searchsorted([1, 3, 5], [3, 4]).tolist()
    [1, 2]
    """
    sorted_sequence, values = promoted(sorted_sequence, values)
    _check_vector(sorted_sequence)
    if side not in ("left", "right"):
        raise ValueError(f"`side` must be 'left' or 'right'. Received: side={side!r}")
    narrow = sorted_sequence.shape[0] <= torch.iinfo(torch.int32).max
    return torch.searchsorted(sorted_sequence, values.contiguous(), side=side, out_int32=narrow)


def _digitize_spec(x: Any, bins: Any) -> KerasTensor:
    if len(shape_of(bins)) > 1:
        raise ValueError(f"`bins` must be a 1D array. Received: bins={bins} with shape bins.shape={shape_of(bins)}")
    return KerasTensor(shape_of(x), dtype="int32")


@operation("x bins", spec=_digitize_spec)
def digitize(x: Any, bins: Any) -> torch.Tensor:
    """The index of the bin of each element: the number of ascending `bins` that are not above it."""
    x, bins = convert_to_tensor(x), convert_to_tensor(bins)
    if bins.ndim > 1:
        raise ValueError(f"`bins` must be a 1D array. Received: bins={bins} with shape bins.shape={tuple(bins.shape)}")
    x = x.to(torch.uint8) if x.dtype is torch.bool else x
    return torch.bucketize(x, bins, right=True).to(torch.int32)


def _isin_spec(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> KerasTensor:
    return KerasTensor(shape_of(x1), dtype="bool")


@operation("x1 x2", spec=_isin_spec, name="IsIn")
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> torch.Tensor:
    """Whether each element of `x1` is in `x2`; with `invert`, whether it is not."""
    x1, x2 = promoted(x1, x2)
    if x1.dtype is torch.bool:
        x1, x2 = x1.to(torch.int32), x2.to(torch.int32)
    return torch.isin(x1, x2, assume_unique=assume_unique, invert=invert)


def _bincount_spec(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> KerasTensor:
    dtype = "int32" if weights is None else dtypes.result_type(dtype_of(x), dtype_of(weights))
    return KerasTensor((*x.shape[:-1], None), dtype=dtype)


@operation("x", spec=_bincount_spec)
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> torch.Tensor:
    """How often each number 0, 1, ... is in `x`, or the sum of the weights of its occurrences.

    Args:
        x: integers that are not negative, (n,) or (batch, n).
        weights: of the shape of `x`, or None.
        minlength: the least size of the result, which otherwise ends with the largest number in `x`.
        sparse: not supported; must be False.
    """
    if sparse:
        raise ValueError("Sparse tensors are not supported: pass sparse=False.")
    x = convert_to_tensor(x)
    rows = x.reshape(-1, x.shape[-1]).to(torch.int64)
    dtype = torch.int32 if weights is None else result_dtype(x.dtype, convert_to_tensor(weights).dtype)
    added = torch.ones_like(rows, dtype=dtype) if weights is None else convert_to_tensor(weights, dtype=dtype)
    size = max(minlength, int(rows.max()) + 1 if rows.numel() else 0)
    counts = torch.zeros(rows.shape[0], size, dtype=dtype, device=x.device)
    return counts.scatter_add(1, rows, added.reshape(rows.shape)).reshape(*x.shape[:-1], size)


def _histogram_spec(x: Any, bins: int = 10, range: Any = None) -> tuple[KerasTensor, KerasTensor]:
    edges = dtypes.result_type(dtype_of(x), float)
    return KerasTensor([bins], dtype=edges), KerasTensor([bins + 1], dtype=edges)


@operation("x", spec=_histogram_spec)
def histogram(x: Any, bins: int = 10, range: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The number of elements in each of `bins` equal intervals, and the ends of these.

    Args:
        x: tensor.
        bins: how many intervals.
        range: (least, greatest); by default that of `x`. Elements outside are not counted.
    """
    if not isinstance(bins, int) or bins <= 0:
        raise ValueError(f"Argument `bins` should be a non-negative integer. Received: bins={bins}")
    if range is not None and (len(range) != 2 or range[1] < range[0]):
        raise ValueError(
            "Argument `range` must be a tuple of two elements. The second element of `range` must be greater than "
            f"the first. Received: range={range}"
        )
    x = convert_to_tensor(x)
    x = x if x.is_floating_point() else x.to(result_dtype(x.dtype, float))
    if x.ndim != 1:
        raise ValueError(f"Input tensor must be 1-dimensional. Received: input.shape={tuple(x.shape)}")
    flat = x
    low, high = (flat.min(), flat.max()) if range is None else (x.new_tensor(float(end)) for end in range)
    low, high = torch.where(low == high, low - 0.5, low), torch.where(low == high, high + 0.5, high)
    edges = low + (high - low) * torch.arange(bins + 1, dtype=x.dtype, device=x.device) / bins
    edges[-1] = high
    places = torch.bucketize(flat, edges, right=True) - 1
    places = torch.where(flat == high, bins - 1, places)
    inside = (places >= 0) & (places < bins) & (flat <= high)
    counts = torch.zeros(bins + 1, dtype=x.dtype, device=x.device)
    return counts.scatter_add(0, torch.where(inside, places, bins), torch.ones_like(flat))[:-1], edges


def _unique_spec(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    shape = [size] if axis is None else list(x.shape)
    if axis is not None:
        shape[axis] = size
    inverse = tuple(x.shape) if axis is None else (x.shape[axis],)
    outputs = [KerasTensor(shape, dtype=x.dtype)]
    for wanted, one in ((return_index, (size,)), (return_inverse, inverse), (return_counts, (size,))):
        if wanted:
            outputs.append(KerasTensor(one, dtype="int32"))
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


@operation("x", spec=_unique_spec)
def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The different elements of `x`, or slices along `axis`.

    Args:
        x: tensor.
        sorted: whether they are in ascending order.
        return_index: also the index of the first occurrence of each.
        return_inverse: also, for each element of `x`, its place in the result.
        return_counts: also how often each occurs.
        axis: whose slices are compared; None compares elements.
        size: the number of results: more are cut off, missing ones are `fill_value`.
        fill_value: 0 by default.
    """
    x = convert_to_tensor(x)
    values, inverse, counts = torch.unique(x, sorted=sorted, return_inverse=True, return_counts=True, dim=axis)
    along = 0 if axis is None else canonical_axis(axis, x.ndim)
    flat = inverse.flatten()
    places = torch.arange(flat.shape[0], device=x.device)
    first = places.new_full((values.shape[along],), flat.shape[0]).scatter_reduce(0, flat, places, "amin")
    if size is not None:
        values = _resized(values, along, size, 0 if fill_value is None else fill_value)
        first, counts = _resized(first, 0, size, 1), _resized(counts, 0, size, 0)
    outputs = [values]
    for wanted, one in ((return_index, first), (return_inverse, inverse), (return_counts, counts)):
        if wanted:
            outputs.append(one.to(torch.int32))
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _resized(x: torch.Tensor, axis: int, size: int, fill: Any) -> torch.Tensor:
    if x.shape[axis] >= size:
        return torch.narrow(x, axis, 0, size)
    widths = [0, 0] * (x.ndim - 1 - axis) + [0, size - x.shape[axis]]
    return F.pad(x, widths, value=fill)
