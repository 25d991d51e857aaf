"""Products of matrices and their generalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.symbolic import compute_output_spec
from fastk.ops.operands import NUMBERS, canonical_axis, promoted, result_dtype
from fastk.ops.registration import dtype_for, operation
from fastk.ops.shapes import broadcast_shapes, matmul_shape, product, shape_of, with_shape
from fastk.tensor import convert_to_tensor

__all__ = [
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "outer",
    "tensordot",
    "vdot",
]


def _computed(function: Callable, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
    """`function` of both in their common dtype; integers, for which GPUs have no matrix product, by way of float64."""
    if x1.dtype is x2.dtype and (x1.is_floating_point() or x1.is_complex()):
        return function(x1, x2)
    both_int8 = x1.dtype is torch.int8 and x2.dtype is torch.int8
    dtype = torch.int32 if both_int8 else result_dtype(x1.dtype, x2.dtype)
    compute = dtype
    if dtype is torch.bool or (not dtype.is_floating_point and not dtype.is_complex and x1.is_cuda):
        compute = torch.float64
    return function(x1.to(compute), x2.to(compute)).to(dtype)


def _pair(x1: Any, x2: Any) -> tuple[torch.Tensor, ...]:
    """Both as tensors; a Python number in the dtype of the other."""
    if type(x1) in NUMBERS or type(x2) in NUMBERS:
        return promoted(x1, x2)
    return convert_to_tensor(x1), convert_to_tensor(x2)


def _matmul(x1: Any, x2: Any) -> torch.Tensor:
    return _computed(torch.matmul, convert_to_tensor(x1), convert_to_tensor(x2))


def _matmul_spec(x1: Any, x2: Any) -> KerasTensor:
    arguments = {"x1": x1, "x2": x2}
    return KerasTensor(matmul_shape(shape_of(x1), shape_of(x2)), dtype=dtype_for(_matmul, ["x1", "x2"], arguments))


@operation("x1 x2", spec=_matmul_spec)
def matmul(x1: Any, x2: Any) -> torch.Tensor:
    """The matrix product over the last dimension of `x1` and the last but one of `x2`; leading dimensions broadcast.

    >>> from fastk import ops
    >>> ops.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[11.]])
    """
    return _matmul(x1, x2)


def _dot(x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
    if x1.ndim == 0 or x2.ndim == 0:
        return torch.multiply(x1, x2)
    if x2.ndim <= 2:
        return torch.matmul(x1, x2)
    return torch.tensordot(x1, x2, dims=([-1], [-2]))  # type: ignore[arg-type]


def _product_dtype(x1: Any, x2: Any) -> str:
    return dtype_for(lambda x1, x2: _computed(torch.multiply, *_pair(x1, x2)), ["x1", "x2"], {"x1": x1, "x2": x2})


def _dot_spec(x1: Any, x2: Any) -> KerasTensor:
    first, second = shape_of(x1), shape_of(x2)
    if not first or not second:
        shape = first or second
    elif len(second) == 1:
        shape = matmul_shape(first, second)
    else:
        _check_contracted(first, second, (-1,), (-2,))
        shape = (*first[:-1], *second[:-2], second[-1])
    return KerasTensor(shape, dtype=_product_dtype(x1, x2))


@operation("x1 x2", spec=_dot_spec)
def dot(x1: Any, x2: Any) -> torch.Tensor:
    """The sum of products over the last axis of `x1` and the last but one (of a vector, the only) axis of `x2`."""
    return _computed(_dot, *_pair(x1, x2))


def _axes_pair(axes: Any, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(axes, int):
        return tuple(range(rank - axes, rank)), tuple(range(axes))
    first, second = axes
    return (
        (first,) if isinstance(first, int) else tuple(first),
        (second,) if isinstance(second, int) else tuple(second),
    )


def _check_contracted(first: Any, second: Any, axes1: Any, axes2: Any) -> None:
    for a, b in zip(axes1, axes2, strict=True):
        if first[a] is not None and second[b] is not None and first[a] != second[b]:
            raise ValueError(
                f"Sizes that are summed over must be equal. Received: x1.shape={first} and x2.shape={second}, "
                f"where axis {a} of x1 meets axis {b} of x2."
            )


def _tensordot_spec(x1: Any, x2: Any, axes: Any = 2) -> KerasTensor:
    first, second = shape_of(x1), shape_of(x2)
    axes1, axes2 = _axes_pair(axes, len(first))
    _check_contracted(first, second, axes1, axes2)
    axes1 = tuple(canonical_axis(a, len(first)) for a in axes1)
    axes2 = tuple(canonical_axis(a, len(second)) for a in axes2)
    shape = [n for i, n in enumerate(first) if i not in axes1] + [n for i, n in enumerate(second) if i not in axes2]
    return KerasTensor(shape, dtype=_product_dtype(x1, x2))


@operation("x1 x2", spec=_tensordot_spec)
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> torch.Tensor:
    """The sum of products over several axes.

    Args:
        x1, x2: tensors.
        axes: how many last axes of `x1` meet the first of `x2`, or the axes of each, as a pair of (lists of) ints.
    """
    x1, x2 = _pair(x1, x2)
    dims = _axes_pair(axes, x1.ndim)
    return _computed(lambda a, b: torch.tensordot(a, b, dims=dims), x1, x2)  # type: ignore[arg-type]


@operation("x1 x2", spec=lambda x1, x2: KerasTensor((), dtype=_product_dtype(x1, x2)))
def vdot(x1: Any, x2: Any) -> torch.Tensor:
    """The sum of products of all elements, the complex conjugate of `x1` taken."""
    x1, x2 = _pair(x1, x2)
    return _computed(torch.vdot, x1.reshape(-1), x2.reshape(-1))


def _inner_spec(x1: Any, x2: Any) -> KerasTensor:
    first, second = shape_of(x1), shape_of(x2)
    if first and second:
        if None not in (first[-1], second[-1]) and first[-1] != second[-1]:
            raise ValueError(
                f"The last dimension of `x1` and `x2` must be equal. Received shapes: {first} and {second}"
            )
        shape = (*first[:-1], *second[:-1])
    else:
        shape = first or second
    return KerasTensor(shape, dtype=_product_dtype(x1, x2))


@operation("x1 x2", spec=_inner_spec)
def inner(x1: Any, x2: Any) -> torch.Tensor:
    """The sum of products over the last axes of both."""
    return _computed(torch.inner, *_pair(x1, x2))


def _outer_spec(x1: Any, x2: Any) -> KerasTensor:
    dtype = _product_dtype(x1, x2)
    return KerasTensor((product(shape_of(x1)), product(shape_of(x2))), dtype=dtype)


@operation("x1 x2", spec=_outer_spec)
def outer(x1: Any, x2: Any) -> torch.Tensor:
    """Each element of `x1`, flat, times each of `x2`, flat."""
    x1, x2 = convert_to_tensor(x1), convert_to_tensor(x2)
    return torch.outer(x1.reshape(-1), x2.reshape(-1))


@operation("x1 x2")
def kron(x1: Any, x2: Any) -> torch.Tensor:
    """The Kronecker product: `x2` scaled by each element of `x1`, as blocks."""
    return torch.kron(convert_to_tensor(x1), convert_to_tensor(x2))


def _cross_spec(x1: Any, x2: Any, axisa: int, axisb: int, axisc: int, axis: int | None) -> KerasTensor:
    if axis is not None:
        axisa = axisb = axisc = axis
    first, second = list(shape_of(x1)), list(shape_of(x2))
    size = {first.pop(axisa), second.pop(axisb)}
    shape = list(broadcast_shapes(first, second))
    if size != {2}:
        shape.insert(axisc % (len(shape) + 1), 3)
    return KerasTensor(shape, dtype=dtype_for(_multiplied, ["x1", "x2"], {"x1": x1, "x2": x2}))


def _multiplied(x1: Any, x2: Any) -> torch.Tensor:
    x1, x2 = promoted(x1, x2)
    return x1 * x2


@operation("x1 x2", spec=_cross_spec)
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> torch.Tensor:
    """The cross product of vectors of 2 or 3 elements.

    Args:
        x1, x2: tensors.
        axisa, axisb: the axes that the vectors lie along.
        axisc: the axis of the result that they lie along.
        axis: all three at once.
    """
    x1, x2 = promoted(x1, x2)
    if axis is not None:
        axisa = axisb = axisc = axis
    x1, x2 = torch.moveaxis(x1, axisa, -1), torch.moveaxis(x2, axisb, -1)
    if x1.shape[-1] == x2.shape[-1] == 2:
        return x1[..., 0] * x2[..., 1] - x1[..., 1] * x2[..., 0]
    x1, x2 = (torch.nn.functional.pad(x, (0, 3 - x.shape[-1])) for x in (x1, x2))
    return torch.moveaxis(torch.linalg.cross(x1, x2, dim=-1), -1, axisc)


def _einsum_spec(subscripts: str, *operands: Any) -> KerasTensor:
    try:
        return compute_output_spec(_einsum, subscripts, *_with_sizes_by_letter(subscripts, operands))
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"Shapes do not fit '{subscripts}': {[shape_of(x) for x in operands]}. {error}") from error


def _with_sizes_by_letter(subscripts: str, operands: tuple) -> list[Any]:
    """The operands with sizes that only another operand knows filled in."""
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    if len(terms) != len(operands):
        raise ValueError(f"`einsum` has {len(terms)} terms in '{subscripts}' and received {len(operands)} operands.")
    sizes: dict[str, int] = {}
    shapes = [shape_of(x) for x in operands]
    places = [_letters(term, len(shape)) for term, shape in zip(terms, shapes, strict=True)]
    for shape, letters in zip(shapes, places, strict=True):
        sizes |= {letter: shape[i] for letter, i in letters if shape[i] not in (None, 1)}  # type: ignore[misc]
    result = []
    for x, shape, letters in zip(operands, shapes, places, strict=True):
        filled = list(shape)
        for letter, i in letters:
            filled[i] = sizes.get(letter) if filled[i] is None else filled[i]
        result.append(with_shape(x, filled))
    return result


def _letters(term: str, rank: int) -> list[tuple[str, int]]:
    """(letter, axis) of each dimension. Those of an ellipsis are numbered from the right, as they broadcast."""
    before, _, after = term.partition("...")
    first, last = len(before), rank - len(after)
    return (
        [(letter, i) for i, letter in enumerate(before)]
        + [(str(last - i), i) for i in range(first, last)]
        + [(letter, last + i) for i, letter in enumerate(after)]
    )


def _einsum(subscripts: str, *operands: Any) -> torch.Tensor:
    tensors = [convert_to_tensor(x) for x in operands]
    kinds = {t.dtype for t in tensors}
    if len(kinds) == 1 and tensors[0].is_floating_point():
        return torch.einsum(subscripts, tensors)
    dtype = torch.int32 if kinds == {torch.int8} else result_dtype(*kinds)
    compute = torch.float64 if tensors[0].is_cuda and not dtype.is_floating_point and not dtype.is_complex else dtype
    return torch.einsum(subscripts, [t.to(compute) for t in tensors]).to(dtype)


@operation("operands", spec=_einsum_spec)
def einsum(subscripts: str, *operands: Any) -> torch.Tensor:
    """The sum of products that `subscripts` describes, in Einstein's notation.

    >>> from fastk import ops
    >>> ops.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
    tensor([21., 43.])
    """
    return _einsum(subscripts, *operands)
