"""Tensors made from shapes and ranges."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import dtype_of, floatx, result_dtype
from fastk.ops.registration import elementwise, operation
from fastk.ops.shapes import broadcast_shapes, product, shape_of
from fastk.tensor import convert_to_tensor, get_device

__all__ = [
    "arange",
    "array",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "geomspace",
    "identity",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tri",
    "view",
    "zeros",
    "zeros_like",
]


def _dtype(dtype: Any) -> torch.dtype:
    return floatx() if dtype is None else dtypes.to_torch_dtype(dtype)


def _size(shape: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in shape) if hasattr(shape, "__iter__") else (int(shape),)


def zeros(shape: Any, dtype: Any = None) -> torch.Tensor:
    """Zeros of `shape`, by default in `floatx()`."""
    return torch.zeros(_size(shape), dtype=_dtype(dtype), device=get_device())


def ones(shape: Any, dtype: Any = None) -> torch.Tensor:
    """Ones of `shape`, by default in `floatx()`."""
    return torch.ones(_size(shape), dtype=_dtype(dtype), device=get_device())


def empty(shape: Any, dtype: Any = None) -> torch.Tensor:
    """A tensor of `shape` whose values are not set."""
    return torch.empty(_size(shape), dtype=_dtype(dtype), device=get_device())


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> torch.Tensor:  # noqa: N803 - Keras's names
    """An `N` by `M` (default `N`) matrix with ones on its `k`-th diagonal and zeros elsewhere."""
    columns = N if M is None else M
    if not k:
        return torch.eye(N, columns, dtype=_dtype(dtype), device=get_device())
    rows = torch.arange(N, device=get_device())[:, None]
    return (torch.arange(columns, device=get_device()) - rows == k).to(_dtype(dtype))


def identity(n: int, dtype: Any = None) -> torch.Tensor:
    """The identity matrix of `n` rows."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> torch.Tensor:  # noqa: N803 - Keras's names
    """An `N` by `M` matrix with ones at and below its `k`-th diagonal."""
    return torch.tril(ones((N, N if M is None else M), dtype=dtype), diagonal=k)


def _full_spec(shape: Any, fill_value: Any, dtype: Any = None) -> KerasTensor:
    return KerasTensor(shape, dtype=dtypes.standardize_dtype(dtype or dtype_of(fill_value)))


@operation("fill_value", spec=_full_spec)
def full(shape: Any, fill_value: Any, dtype: Any = None) -> torch.Tensor:
    """A tensor of `shape` filled with `fill_value`, which may be a tensor that broadcasts to it.

    >>> from fastk import ops
    >>> ops.full((2, 2), 7.0)
    tensor([[7., 7.],
            [7., 7.]])
    """
    target = _dtype(dtype)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full(_size(shape), fill_value, dtype=target, device=get_device())
    return torch.broadcast_to(convert_to_tensor(fill_value, dtype=target), _size(shape)).clone()


@elementwise("x")
def zeros_like(x: Any, dtype: Any = None) -> torch.Tensor:
    """Zeros of the shape of `x`, by default of its dtype."""
    x = convert_to_tensor(x)
    return torch.zeros_like(x, dtype=x.dtype if dtype is None else dtypes.to_torch_dtype(dtype))


@elementwise("x")
def ones_like(x: Any, dtype: Any = None) -> torch.Tensor:
    """Ones of the shape of `x`, by default of its dtype."""
    x = convert_to_tensor(x)
    return torch.ones_like(x, dtype=x.dtype if dtype is None else dtypes.to_torch_dtype(dtype))


@elementwise("x")
def empty_like(x: Any, dtype: Any = None) -> torch.Tensor:
    """A tensor of the shape of `x` whose values are not set."""
    x = convert_to_tensor(x)
    return torch.empty_like(x, dtype=x.dtype if dtype is None else dtypes.to_torch_dtype(dtype))


def _full_like_spec(x: Any, fill_value: Any, dtype: Any = None) -> KerasTensor:
    return KerasTensor(shape_of(x), dtype=dtypes.standardize_dtype(dtype or x.dtype))


@operation("x fill_value", spec=_full_like_spec)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> torch.Tensor:
    """`fill_value` in the shape of `x`, by default in its dtype."""
    x = convert_to_tensor(x)
    target = x.dtype if dtype is None else dtypes.to_torch_dtype(dtype)
    if isinstance(fill_value, (bool, int, float)):
        return torch.full_like(x, fill_value, dtype=target)
    return torch.broadcast_to(convert_to_tensor(fill_value, dtype=target), x.shape).clone()


@elementwise("x")
def array(x: Any, dtype: Any = None) -> torch.Tensor:
    """`x` as a tensor."""
    return convert_to_tensor(x, dtype=dtype)


def _arange_spec(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> KerasTensor:
    kinds = [dtype_of(x) for x in (start, stop, step) if x is not None]
    return KerasTensor([None], dtype=dtype or dtypes.result_type(*kinds))


@operation("start stop step", spec=_arange_spec)
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> torch.Tensor:
    """The numbers `start, start + step, ...` below `stop`; with one argument, `0, 1, ...` below it.

    >>> from fastk import ops
    >>> ops.arange(3), ops.arange(1, 2, 0.25)
    (tensor([0, 1, 2], dtype=torch.int32), tensor([1.0000, 1.2500, 1.5000, 1.7500]))
    """
    if dtype is None:
        dtype = dtypes.result_type(*(dtype_of(x) for x in (start, stop, step) if x is not None))
    if stop is None:
        start, stop = 0, start
    return torch.arange(
        start, stop, 1 if step is None else step, dtype=dtypes.to_torch_dtype(dtype), device=get_device()
    )


def _space_spec(start: Any, stop: Any, num: int, dtype: Any, axis: int) -> KerasTensor:
    shape = list(broadcast_shapes(shape_of(start), shape_of(stop)))
    shape.insert(axis % (len(shape) + 1), num)
    return KerasTensor(shape, dtype=dtype or dtypes.result_type(dtype_of(start), dtype_of(stop), float))


def _linspace_spec(start: Any, stop: Any, num: int, endpoint: bool, retstep: bool, dtype: Any, axis: int) -> Any:
    result = _space_spec(start, stop, num, dtype, axis)
    if not retstep:
        return result
    return result, KerasTensor(broadcast_shapes(shape_of(start), shape_of(stop)), dtype=result.dtype)


@operation("start stop", spec=_linspace_spec)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` numbers evenly spaced from `start` to `stop`.

    Args:
        start, stop: numbers, or tensors that broadcast.
        num: how many.
        endpoint: whether `stop` is the last of them.
        retstep: whether the distance between them is returned too.
        dtype: of the result; by default floating point.
        axis: the axis of the result that they lie along.

    >>> from fastk import ops
    >>> ops.linspace(0.0, 1.0, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    if num < 0:
        raise ValueError(f"`num` must be a non-negative integer. Received: num={num}")
    target = result_dtype(dtype_of(start), dtype_of(stop), float) if dtype is None else dtypes.to_torch_dtype(dtype)
    # Steps are exact in float64, whatever the result's dtype.
    first, last = torch.broadcast_tensors(convert_to_tensor(start), convert_to_tensor(stop))
    first, last = first.to(torch.float64), last.to(torch.float64)
    intervals = num - 1 if endpoint else num
    step = (last - first) / intervals if intervals > 0 else torch.full_like(first, float("nan"))
    positions = torch.arange(num, dtype=torch.float64, device=first.device).reshape(-1, *[1] * first.ndim)
    values = first + positions * (step if intervals > 0 else 0.0)
    if endpoint and num > 1:
        values[-1] = last
    values = torch.moveaxis(values, 0, axis) if axis else values
    values = torch.floor(values).to(target) if not target.is_floating_point else values.to(target)
    return (values, step.to(floatx() if not target.is_floating_point else target)) if retstep else values


def _logspace_spec(start: Any, stop: Any, num: int, endpoint: bool, base: Any, dtype: Any, axis: int) -> KerasTensor:
    return _space_spec(start, stop, num, dtype, axis)


@operation("start stop", spec=_logspace_spec)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: Any = None, axis: int = 0
) -> torch.Tensor:
    """`base` to the power of `linspace(start, stop, num)`."""
    target = result_dtype(dtype_of(start), dtype_of(stop), float) if dtype is None else dtypes.to_torch_dtype(dtype)
    exponents = linspace(start, stop, num, endpoint=endpoint, dtype="float64", axis=axis)
    return torch.pow(torch.tensor(base, dtype=torch.float64), exponents).to(target)


def _geomspace_spec(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any, axis: int) -> KerasTensor:
    return _space_spec(start, stop, num, dtype, axis)


@operation("start stop", spec=_geomspace_spec)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> torch.Tensor:
    """`num` numbers from `start` to `stop`, each the same multiple of the one before."""
    target = result_dtype(dtype_of(start), dtype_of(stop), float) if dtype is None else dtypes.to_torch_dtype(dtype)
    first, last = (convert_to_tensor(x, dtype="float64") for x in (start, stop))
    exponents = linspace(first.abs().log10(), last.abs().log10(), num, endpoint=endpoint, dtype="float64", axis=axis)
    sign = torch.sign(torch.broadcast_tensors(first, last)[0])
    return (torch.pow(10.0, exponents) * (sign.unsqueeze(axis) if sign.ndim else sign)).to(target)


def _meshgrid_spec(*x: Any, indexing: str = "xy") -> list[KerasTensor]:
    _check_indexing(indexing)
    sizes = [product(shape_of(v)) for v in x]
    if indexing == "xy" and len(sizes) > 1:
        sizes[:2] = sizes[1], sizes[0]
    return [KerasTensor(sizes, dtype=dtypes.standardize_dtype(dtype_of(v))) for v in x]


@operation("x", spec=_meshgrid_spec)
def meshgrid(*x: Any, indexing: str = "xy") -> list[torch.Tensor]:
    """The coordinate grids of coordinate vectors.

    Args:
        x: tensors, made flat.
        indexing: `"xy"`, where the first two axes of the result are swapped, or `"ij"`.
    """
    _check_indexing(indexing)
    return list(torch.meshgrid(*(convert_to_tensor(v).reshape(-1) for v in x), indexing=indexing))


def _check_indexing(indexing: str) -> None:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"Valid values for `indexing` are 'xy' and 'ij', but received {indexing!r}.")


def _view_spec(x: Any, dtype: Any = None) -> KerasTensor:
    target = dtypes.standardize_dtype(dtype or x.dtype)
    old, new = (dtypes.to_torch_dtype(name).itemsize for name in (x.dtype, target))
    last = x.shape[-1]
    if last is not None and last * old % new:
        raise ValueError(
            f"Cannot view the last dimension ({last} of {x.dtype}) as {target}: it is not a whole number of elements."
        )
    return KerasTensor((*x.shape[:-1], None if last is None else last * old // new), dtype=target)


@operation("x", spec=_view_spec)
def view(x: Any, dtype: Any = None) -> torch.Tensor:
    """The same bytes as another dtype; the last dimension grows or shrinks with the size of an element."""
    x = convert_to_tensor(x)
    if dtype is None:
        return x
    name = dtypes.standardize_dtype(dtype)
    if name in ("uint16", "uint32"):
        raise ValueError(
            f"Bytes cannot be viewed as {name}: values of it are held in a wider dtype. Received: dtype={dtype}"
        )
    return x.view(dtypes.to_torch_dtype(name))
