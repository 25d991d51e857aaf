"""`tl.reduce` and `tl.associative_scan` of the interpreter, vectorised.

The stock ones call the combining function for each element. These combine neighbours, halving the axis (a scan:
shifted by 1, 2, 4, …), so that log2(n) calls do, in the order of the elements, as a warp does. Sums, maxima and minima
go to numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import TensorHandle

_standard = tl.standard
_EXTREMES = {_standard._elementwise_max: np.fmax, _standard._elementwise_min: np.fmin}
_ARGUMENT_OF_EXTREME = {
    _standard._argmax_combine_tie_break_left: (np.max, np.argmax),
    _standard._argmin_combine_tie_break_left: (np.min, np.argmin),
}


def reduce(input: Any, axis: int | None, combine_fn: Any, keep_dims: bool = False, **_: Any) -> Any:
    """`tl.reduce`: a tensor or a tuple of them, reduced along `axis` (None: all of it)."""
    inputs = input if isinstance(input, tuple) else (input,)
    ranks = len(inputs[0].shape)
    if axis is None:
        data = [tensor.handle.data.reshape(-1) for tensor in inputs]
        results = [result.reshape((1,) * ranks) for result in _reduce(data, inputs, 0, combine_fn)]
        kept_axis = tuple(range(ranks))
    else:
        kept_axis = _checked(axis, ranks)
        results = _reduce([tensor.handle.data for tensor in inputs], inputs, kept_axis, combine_fn)
    if not keep_dims:
        results = [result.squeeze(kept_axis) for result in results]
    tensors = tuple(_tensor(result, tensor.dtype) for result, tensor in zip(results, inputs, strict=True))
    return tensors if isinstance(input, tuple) else tensors[0]


def associative_scan(input: Any, axis: int, combine_fn: Any, reverse: bool = False, **_: Any) -> Any:
    """`tl.associative_scan` along `axis`, from its end where `reverse`."""
    inputs = input if isinstance(input, tuple) else (input,)
    axis = _checked(axis, len(inputs[0].shape))
    dtypes = [tensor.dtype for tensor in inputs]
    data = [np.moveaxis(tensor.handle.data, axis, 0) for tensor in inputs]
    if reverse:
        data = [array[::-1] for array in data]
    shift = 1
    while shift < len(data[0]):
        earlier = [np.concatenate([x[:shift], x[:-shift]]) for x in data]  # the extent stays a power of two
        combined = _combine(combine_fn, dtypes, earlier, data)
        data = [np.concatenate([x[:shift], new[shift:]]) for x, new in zip(data, combined, strict=True)]
        shift *= 2
    if reverse:
        data = [array[::-1] for array in data]
    tensors = tuple(
        _tensor(np.ascontiguousarray(np.moveaxis(x, 0, axis)), dtype) for x, dtype in zip(data, dtypes, strict=True)
    )
    return tensors if isinstance(input, tuple) else tensors[0]


def _reduce(data: list[np.ndarray], inputs: tuple, axis: int, combine_fn: Any) -> list[np.ndarray]:
    """`data` reduced along `axis`, which stays with length 1."""
    dtype, values = inputs[0].dtype, data[0]
    if dtype != tl.bfloat16:
        if combine_fn is _standard._sum_combine:
            return [values.sum(axis, values.dtype, keepdims=True)]
        if combine_fn in _EXTREMES:
            return [_EXTREMES[combine_fn].reduce(values, axis, keepdims=True)]
        if combine_fn in _ARGUMENT_OF_EXTREME and not (values.dtype.kind == "f" and np.isnan(values).any()):
            extreme, position = _ARGUMENT_OF_EXTREME[combine_fn]
            at = position(values, axis, keepdims=True)
            return [extreme(values, axis, keepdims=True), np.take_along_axis(data[1], at, axis)]
    dtypes = [tensor.dtype for tensor in inputs]
    data = [np.moveaxis(array, axis, 0) for array in data]
    while len(data[0]) > 1:  # a power of two, as every extent of a block
        data = _combine(combine_fn, dtypes, [x[0::2] for x in data], [x[1::2] for x in data])
    return [np.moveaxis(array, 0, axis) for array in data]


def _combine(
    combine_fn: Any, dtypes: list[tl.dtype], left: list[np.ndarray], right: list[np.ndarray]
) -> list[np.ndarray]:
    """The combining function on whole arrays."""
    function: Callable[..., Any] = getattr(combine_fn, "fn", combine_fn)
    arguments = [_tensor(np.ascontiguousarray(x), dtype) for x, dtype in zip([*left, *right], dtypes * 2, strict=True)]
    results = function(*arguments)
    results = results if isinstance(results, tuple) else (results,)
    return [np.broadcast_to(result.handle.data, left[0].shape) for result in results]


def _checked(axis: int, rank: int) -> int:
    axis = getattr(axis, "value", axis)  # tl.constexpr
    if not -rank <= axis < rank:
        raise ValueError(f"The axis of a reduction or scan is {axis}; the block has {rank} dimensions.")
    return axis % rank


def _tensor(data: np.ndarray, dtype: tl.dtype) -> Any:
    data = data.astype(stock._get_np_dtype(dtype), copy=False)
    if data.ndim == 0:
        return tl.tensor(TensorHandle(data.reshape(1), dtype.scalar), dtype)
    return tl.tensor(TensorHandle(data, dtype.scalar), tl.block_type(dtype, list(data.shape)))
