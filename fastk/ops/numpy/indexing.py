"""Functions that pick elements: by index, by condition, by diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.symbolic import compute_output_spec
from fastk.ops.operands import canonical_axis, dtype_of, operands
from fastk.ops.registration import operation
from fastk.ops.shapes import broadcast_shapes, diagonal_shape, product, shape_of
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

__all__ = [
    "diag",
    "diagflat",
    "diagonal",
    "get_item",
    "ndim",
    "nonzero",
    "select",
    "size",
    "take",
    "take_along_axis",
    "tril",
    "triu",
    "unravel_index",
    "where",
]


def _get_item_spec(x: Any, key: Any) -> KerasTensor:
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if any(not (part is None or part is Ellipsis or isinstance(part, (int, slice))) for part in parts):
        return compute_output_spec(_get_item, x, key)
    if parts.count(Ellipsis) > 1:
        raise ValueError(f"Slice should only have one ellipsis. Received: `{key}`")
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    left, shape = list(x.shape), []
    for position, part in enumerate(parts):
        if part is Ellipsis:
            rest = parts[position + 1 :]
            kept = len(left) - (len(rest) - rest.count(None))
            shape += left[:kept]
            left = left[max(kept, 0) :]
        elif part is None:
            shape.append(1)
        elif not left:
            raise ValueError(f"Array has shape {x.shape} but slice has to many indices. Received: `{key}`")
        else:
            size = left.pop(0)
            if isinstance(part, slice):
                # Of an unknown size, a part is of unknown size: it may end before the slice does.
                shape.append(None if size is None else len(range(*part.indices(size))))
            elif size is not None and not -size <= part < size:
                raise ValueError(f"Array has shape {x.shape} but out-of-bounds index {key} was requested.")
    return KerasTensor(shape, dtype=x.dtype)


def _get_item(x: Any, key: Any) -> torch.Tensor:
    x = convert_to_tensor(x)
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, slice) and part.step is not None and part.step < 0 for part in parts):
        return _with_negative_steps(x, parts)
    return x[tuple(_index(part) for part in parts)]


def _index(part: Any) -> Any:
    return part.value if isinstance(part, Variable) else part


def _with_negative_steps(x: torch.Tensor, parts: tuple) -> torch.Tensor:
    """torch has no negative steps: the part is taken forwards, then flipped."""
    consuming = [part for part in parts if part is not None and part is not Ellipsis]
    forwards, flipped, axis, out = [], [], 0, 0
    for part in parts:
        if part is Ellipsis:
            skipped = x.ndim - len(consuming)
            axis, out = axis + skipped, out + skipped
        elif isinstance(part, slice) and part.step is not None and part.step < 0:
            places = range(*part.indices(x.shape[axis]))
            part = slice(places[-1], places[0] + 1, -places.step) if places else slice(0, 0)
            flipped.append(out)
        forwards.append(_index(part))
        if part is not Ellipsis:
            axis += part is not None
            out += part is None or isinstance(part, slice)
    return torch.flip(x[tuple(forwards)], dims=flipped)


def _call_get_item(self: Any, x: Any, key: Any) -> torch.Tensor:
    # Files hold a key of several parts as a list: in the graph, a list is a tuple.
    return _get_item(x, tuple(key) if isinstance(key, list) else key)


@operation("x key", spec=_get_item_spec, call=_call_get_item)
def get_item(x: Any, key: Any) -> torch.Tensor:
    """`x[key]`, also with negative steps.

    >>> from fastk import ops
    >>> ops.get_item(ops.arange(4), slice(None, None, -2)).tolist()
    [3, 1]
    """
    return _get_item(x, key)


def _take_spec(x: Any, indices: Any, axis: int | None = None) -> KerasTensor:
    shape = [product(shape_of(x))] if axis is None else list(shape_of(x))
    position = 0 if axis is None else canonical_axis(axis, len(shape))
    shape[position : position + 1] = shape_of(indices)
    return KerasTensor(shape, dtype=dtypes.standardize_dtype(dtype_of(x)))


@operation("x indices", spec=_take_spec)
def take(x: Any, indices: Any, axis: int | None = None) -> torch.Tensor:
    """The elements of `x` at `indices` along `axis`, by default of the flat tensor; negative ones count from the end.

    >>> from fastk import ops
    >>> ops.take([10, 20, 30], [0, -1]).tolist()
    [10, 30]
    """
    x, indices = convert_to_tensor(x), _indices(indices)
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = canonical_axis(axis, x.ndim)
    size = x.shape[axis]
    indices = torch.where(indices < 0, indices + size, indices)
    if axis == 0 and x.ndim == 2:
        return torch.nn.functional.embedding(indices, x)
    picked = torch.index_select(x, axis, indices.reshape(-1))
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _indices(indices: Any) -> torch.Tensor:
    indices = convert_to_tensor(indices)
    return indices if indices.dtype in (torch.int32, torch.int64) else indices.to(torch.int64)


def _take_along_axis_spec(x: Any, indices: Any, axis: int | None = None) -> KerasTensor:
    dtype = dtypes.standardize_dtype(dtype_of(x))
    picked = list(shape_of(indices))
    if axis is None:
        return KerasTensor([product(picked)], dtype=dtype)
    shape = list(shape_of(x))
    position = canonical_axis(axis, len(shape))
    if len(shape) != len(picked):
        raise ValueError(
            f"`x` and `indices` must have the same number of dimensions, but receive shape {tuple(shape)} and "
            f"{tuple(picked)}."
        )
    shape[position] = picked[position]
    return KerasTensor(broadcast_shapes(shape, picked), dtype=dtype)


@operation("x indices", spec=_take_along_axis_spec)
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> torch.Tensor:
    """The elements of `x` whose place along `axis` is given by `indices`, which has the other dimensions of `x`."""
    x, indices = convert_to_tensor(x), _indices(indices).to(torch.int64)
    if axis is None:
        x, indices, axis = x.reshape(-1), indices.reshape(-1), 0
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    return torch.take_along_dim(x, indices, dim=axis)


def _where_spec(condition: Any, x1: Any = None, x2: Any = None) -> KerasTensor:
    if x1 is None and x2 is None:
        return KerasTensor([len(shape_of(condition)), None], dtype="int64")
    shape = broadcast_shapes(*map(shape_of, (condition, x1, x2)))
    return KerasTensor(shape, dtype=dtypes.result_type(dtype_of(x1), dtype_of(x2)))


@operation("condition x1 x2", spec=_where_spec)
def where(condition: Any, x1: Any = None, x2: Any = None) -> torch.Tensor:
    """`x1` where `condition` is true, else `x2`; without them, the indices where it is true, a row for each axis.

    >>> from fastk import ops
    >>> ops.where([True, False], [1.0, 2.0], 0.0)
    tensor([1., 0.])
    """
    if (x1 is None) is not (x2 is None):
        raise ValueError("`x1` and `x2` either both should be `None` or both should have non-None value.")
    condition = convert_to_tensor(condition, dtype="bool")
    if x1 is None:
        return torch.stack(torch.where(condition), dim=0)
    return torch.where(condition, *operands(x1, x2))


def _nonzero_spec(x: Any) -> tuple[KerasTensor, ...]:
    return tuple(KerasTensor([None], dtype="int32") for _ in x.shape)


@operation("x", spec=_nonzero_spec)
def nonzero(x: Any) -> tuple[torch.Tensor, ...]:
    """The indices of the elements that are not 0: an int32 tensor for each dimension."""
    return torch.nonzero(convert_to_tensor(x)).to(torch.int32).unbind(1)


def _select_spec(condlist: Any, choicelist: Any, default: Any = 0) -> KerasTensor:
    shape = broadcast_shapes(*map(shape_of, (*condlist, *choicelist, default)))
    return KerasTensor(shape, dtype=dtypes.result_type(*map(dtype_of, (*choicelist, default))))


@operation("condlist choicelist default", spec=_select_spec)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> torch.Tensor:
    """Each element from the first of `choicelist` whose condition is true there, else `default`."""
    result = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = torch.where(convert_to_tensor(condition, dtype="bool"), *operands(choice, result))
    return result


def _diag_spec(x: Any, k: int = 0) -> KerasTensor:
    if len(x.shape) == 1:
        size = None if x.shape[0] is None else x.shape[0] + abs(k)
        return KerasTensor((size, size), dtype=x.dtype)
    if len(x.shape) != 2:
        raise ValueError(f"`x` must be 1-D or 2-D. Received: x.shape={x.shape}")
    return KerasTensor(diagonal_shape(x.shape, k, 0, 1), dtype=x.dtype)


@operation("x", spec=_diag_spec)
def diag(x: Any, k: int = 0) -> torch.Tensor:
    """The `k`-th diagonal of a matrix, or the matrix with the vector `x` on its `k`-th diagonal."""
    return torch.diag(convert_to_tensor(x), diagonal=k)


@operation("x")
def diagflat(x: Any, k: int = 0) -> torch.Tensor:
    """The matrix with the elements of `x` on its `k`-th diagonal."""
    return torch.diagflat(convert_to_tensor(x), offset=k)


def _diagonal_spec(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> KerasTensor:
    return KerasTensor(diagonal_shape(x.shape, offset, axis1, axis2), dtype=x.dtype)


@operation("x", spec=_diagonal_spec)
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> torch.Tensor:
    """The diagonals of the matrices that `axis1` and `axis2` span, along a new last axis."""
    x = convert_to_tensor(x)
    diagonal_shape(x.shape, offset, axis1, axis2)
    return torch.diagonal(x, offset=offset, dim1=axis1, dim2=axis2)


@operation("x")
def tril(x: Any, k: int = 0) -> torch.Tensor:
    """`x` with zeros above the `k`-th diagonal."""
    return torch.tril(convert_to_tensor(x), diagonal=k)


@operation("x")
def triu(x: Any, k: int = 0) -> torch.Tensor:
    """`x` with zeros below the `k`-th diagonal."""
    return torch.triu(convert_to_tensor(x), diagonal=k)


def _unravel_index_spec(indices: Any, shape: Any) -> tuple[KerasTensor, ...]:
    return tuple(KerasTensor(indices.shape, dtype=indices.dtype) for _ in shape)


@operation("indices", spec=_unravel_index_spec)
def unravel_index(indices: Any, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """The coordinates, in a tensor of `shape`, of positions in it when flat."""
    indices = convert_to_tensor(indices)
    return tuple(i.to(indices.dtype) for i in torch.unravel_index(indices, tuple(shape)))


@operation("x")
def ndim(x: Any) -> int:
    """The number of dimensions."""
    return len(shape_of(x))


@operation("x", spec=lambda x: KerasTensor((), dtype="int32"))
def size(x: Any) -> torch.Tensor:
    """The number of elements: an int64 scalar tensor."""
    return convert_to_tensor(convert_to_tensor(x).numel())
