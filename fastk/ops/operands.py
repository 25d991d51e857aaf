"""How the arguments of operations become torch tensors, and Keras's rules for the dtypes of results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from fastk import config, dtypes
from fastk.scopes import state
from fastk.tensor import convert_to_tensor

NUMBERS = (bool, int, float, complex)
# Sums of these are int32, as in Keras: torch would widen to int64.
SMALL_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16)


def floatx() -> torch.dtype:
    """`keras.config.floatx()` as a torch dtype."""
    return dtypes.to_torch_dtype(config.floatx())


def floating(x: Any) -> torch.Tensor:
    """`x` as a tensor of a floating-point or complex dtype; integers and booleans become `floatx()`."""
    x = convert_to_tensor(x)
    return x if x.is_floating_point() or x.is_complex() else x.to(floatx())


def operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both as torch's binary functions take them. A Python number is weak: the other operand decides the dtype."""
    if type(x2) not in NUMBERS:
        x2 = convert_to_tensor(x2)
        x1 = _scalar(x1) if type(x1) in NUMBERS else convert_to_tensor(x1)
        return x1, x2
    x1 = convert_to_tensor(x1)
    # torch promotes a boolean tensor and an int to int64, an integer tensor and a float to its own default.
    return x1, x2 if x1.is_floating_point() or x1.is_complex() or type(x2) is bool else _scalar(x2)


def _scalar(x: Any) -> torch.Tensor:
    """On the CPU: torch mixes scalars from there with any device, and nothing is copied."""
    device = "meta" if state.symbolic else "cpu"
    if type(x) is float:
        return torch.tensor(x, dtype=floatx(), device=device)
    narrow = type(x) is int and -(2**31) <= x < 2**31
    return torch.tensor(x, dtype=torch.int32 if narrow else None, device=device)


def promoted(*xs: Any, at_least: Any = None) -> tuple[torch.Tensor, ...]:
    """All as tensors of the one dtype that Keras promotes them to; `at_least` (`float`) takes part in the promotion."""
    kinds = [dtype_of(x) for x in xs]
    if at_least is not None:
        kinds.append(at_least)
    dtype = dtypes.to_torch_dtype(dtypes.result_type(*kinds))
    return tuple(convert_to_tensor(x, dtype=dtype) for x in xs)


def dtype_of(x: Any) -> Any:
    """The dtype of a tensor or array; the type of a Python number, which promotion takes as weak."""
    if type(x) in NUMBERS:
        return type(x)
    if hasattr(x, "dtype"):
        return x.dtype
    return convert_to_tensor(x).dtype


def result_dtype(*kinds: Any) -> torch.dtype:
    """`dtypes.result_type` as a torch dtype."""
    return dtypes.to_torch_dtype(dtypes.result_type(*kinds))


def axes_of(axis: Any, ndim: int) -> list[int]:
    """`axis`, an int, a sequence or None (all), as a list of non-negative ints.

    Raises:
        ValueError: an axis out of range.
    """
    if axis is None:
        return list(range(ndim))
    return [canonical_axis(a, ndim) for a in (axis if isinstance(axis, Iterable) else (axis,))]


def canonical_axis(axis: int, ndim: int) -> int:
    """`axis` as a non-negative int.

    Raises:
        ValueError: out of range.
    """
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"axis {axis} is out of bounds for array of dimension {ndim}: expected {-ndim} <= axis < {ndim}."
        )
    return axis + ndim if axis < 0 else axis


def is_empty_axis(axis: Any) -> bool:
    """Whether `axis` is `()` or `[]`: NumPy then reduces nothing, torch everything."""
    return isinstance(axis, (list, tuple)) and not axis
