"""Shapes of results where sizes may be unknown (None)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.tensor import convert_to_tensor

Shape = tuple[int | None, ...]


def shape_of(x: Any) -> Shape:
    """The shape of a tensor, symbolic or not, an array, a number or nested lists of numbers."""
    shape = getattr(x, "shape", None)
    return tuple(np.shape(x)) if shape is None else tuple(shape)


def broadcast_shapes(*shapes: Sequence[int | None]) -> Shape:
    """The shape that `shapes` broadcast to. An unknown size gives way to a known one above 1.

    >>> from fastk.ops.shapes import broadcast_shapes
    >>> broadcast_shapes((None, 3), (1, 3)), broadcast_shapes((None, 1), (5, 3))
    ((None, 3), (5, 3))
    """
    rank = max(len(shape) for shape in shapes)
    result: list[int | None] = [1] * rank
    for shape in shapes:
        for i, size in enumerate((1,) * (rank - len(shape)) + tuple(shape)):
            before = result[i]
            if before == 1 or (before is None and size not in (1, None)):
                result[i] = size
            elif size not in (1, None, before):
                raise ValueError(
                    f"Cannot broadcast shape, the failure dim has value {before}, which cannot be broadcasted to "
                    f"{size}. Input shapes are: {' and '.join(str(list(shape)) for shape in shapes)}."
                )
    return tuple(result)


def with_shape(x: Any, shape: Sequence[int | None]) -> Any:
    """A KerasTensor of `shape` with the dtype of `x`; a Python number stays itself, being weak."""
    if not hasattr(x, "dtype"):
        return x if isinstance(x, (bool, int, float, complex)) else KerasTensor(shape, dtype=_dtype_of_list(x))
    return KerasTensor(shape, dtype=dtypes.standardize_dtype(x.dtype))


def _dtype_of_list(x: Any) -> str:
    return dtypes.standardize_dtype(convert_to_tensor(x).dtype)


def unified(*shapes: Sequence[int | None], but: int | None = None) -> list[Shape]:
    """Shapes that must agree, except along axis `but`: an unknown size takes the value it has in another one."""
    known = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(known):
            return [tuple(shape) for shape in shapes]
        known = [b if a is None else a for a, b in zip(known, shape, strict=True)]
    skip = None if but is None else but % max(len(known), 1)
    return [
        tuple(own if i == skip else (known[i] if own is None else own) for i, own in enumerate(shape))
        for shape in shapes
    ]


def matmul_shape(shape1: Sequence[int | None], shape2: Sequence[int | None]) -> Shape:
    """The shape of a matrix product.

    >>> from fastk.ops.shapes import matmul_shape
    >>> matmul_shape((None, 2, 3), (3, 4)), matmul_shape((3,), (None, 3, 4))
    ((None, 2, 4), (None, 4))
    """
    first, second = tuple(shape1), tuple(shape2)
    if not first or not second:
        raise ValueError(f"`matmul` takes tensors of at least one dimension. Received shapes: {first} and {second}.")
    row, column = len(first) == 1, len(second) == 1
    first, second = ((1, *first) if row else first), ((*second, 1) if column else second)
    if first[-1] is not None and second[-2] is not None and first[-1] != second[-2]:
        raise ValueError(
            "Inner dimensions (`x1.shape[-1]` and `x2.shape[-2]`) must be equal, but received "
            f"`x1.shape={tuple(shape1)}` and `x2.shape={tuple(shape2)}`."
        )
    last = (*(() if row else first[-2:-1]), *(() if column else second[-1:]))
    return (*broadcast_shapes(first[:-2], second[:-2]), *last)


def reshape_shape(shape: Sequence[int | None], newshape: Sequence[Any]) -> Shape:
    """The shape after `reshape`; -1 and None stand for sizes to be found.

    Raises:
        ValueError: the number of elements would change, or there is more than one -1.
    """
    newshape = tuple(newshape)
    if sum(size == -1 for size in newshape) > 1:
        raise ValueError(
            f"There must be at most one unknown dimension (-1) in `newshape`. Received: newshape={newshape}."
        )
    if any(size is not None and size < -1 for size in newshape):
        raise ValueError(
            "Each dimension in `newshape` must be a non-negative integer, or `-1` for a single unknown dimension. "
            f"Received: newshape={newshape}."
        )
    if None in shape or None in newshape:
        return tuple(None if size == -1 else size for size in newshape)
    size, known = math.prod(shape), math.prod(n for n in newshape if n != -1)  # type: ignore[arg-type]
    if -1 not in newshape:
        if size != known:
            raise ValueError(
                "The total size of the tensor must be unchanged. Received: "
                f"input_shape={tuple(shape)}, newshape={newshape}"
            )
        return newshape
    if known == 0 or size % known:
        raise ValueError(
            "The total size of the tensor must be unchanged, however, the input size cannot by divided by the "
            f"specified dimensions in newshape. Received: input_shape={tuple(shape)}, newshape={newshape}"
        )
    return tuple(size // known if n == -1 else n for n in newshape)


def diagonal_shape(shape: Sequence[int | None], offset: int, axis1: int, axis2: int) -> Shape:
    """The shape of the diagonals of the matrices that two axes span.

    Raises:
        ValueError: the axes are the same, or out of range.
    """
    rank = len(shape)
    if rank < 2 or not all(-rank <= axis < rank for axis in (axis1, axis2)) or axis1 % rank == axis2 % rank:
        raise ValueError(
            "`x` must have at least two dimensions, and `axis1` and `axis2` be different ones. "
            f"Received: x.shape={tuple(shape)}, axis1={axis1}, axis2={axis2}"
        )
    rows, columns = shape[axis1], shape[axis2]
    size = None
    if rows is not None and columns is not None:
        size = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    return (*(n for i, n in enumerate(shape) if i not in (axis1 % rank, axis2 % rank)), size)


def product(sizes: Sequence[int | None]) -> int | None:
    """The product, None where a size is unknown."""
    return None if None in sizes else math.prod(sizes)  # type: ignore[arg-type]
