"""Arithmetic of quantization: values as small integers or 8-bit floats, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from fastk import dtypes
from fastk.ops.operands import canonical_axis
from fastk.tensor import convert_to_numpy, convert_to_tensor

# The largest values of the 8-bit floats.
FLOAT8_MAX = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}


def abs_max_quantize(
    inputs: Any,
    axis: Any,
    value_range: tuple[int, int] = (-127, 127),
    dtype: Any = "int8",
    epsilon: float = 1e-7,
    to_numpy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values times a scale, rounded: the largest magnitude along `axis` becomes the end of `value_range`.

    Args:
        inputs: a tensor.
        axis: the axes that share a scale.
        value_range: the least and the largest integer.
        dtype: the integers' dtype.
        epsilon: added to magnitudes.
        to_numpy: compute on the host, which saves memory of the device.

    Returns:
        `(integers, scale)`: `inputs` are about `integers / scale`.

    >>> from fastk import quantizers
    >>> integers, scale = quantizers.abs_max_quantize([[1.0, -4.0, 2.0]], axis=-1)
    >>> integers.tolist(), round(scale.item(), 2)
    ([[32, -127, 64]], 31.75)
    """
    x = convert_to_tensor(inputs)
    home = x.device
    if to_numpy:
        x = x.cpu()
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else axis
    scale = (value_range[1] / (x.abs().amax(dim=axes, keepdim=True) + epsilon)).to(x.dtype)
    integers = (x * scale).round().clamp(*value_range).to(dtypes.to_torch_dtype(dtype))
    return integers.to(home), scale.to(home)


def abs_max_quantize_grouped_with_zero_point(
    inputs: Any,
    block_size: int,
    value_range: tuple[int, int] = (-8, 7),
    dtype: Any = "int8",
    epsilon: float = 1e-7,
    to_numpy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix as integers, with a scale and an integer for zero for each column of each group of rows.

    Args:
        inputs: a matrix `(rows, columns)`.
        block_size: the rows of a group; the last may have fewer.
        value_range: the least and the largest integer.
        dtype: the integers' dtype.
        epsilon: added to ranges.
        to_numpy: compute on the host, which saves memory of the device.

    Returns:
        `(integers, scale, zero)`: `inputs` are about `(integers - zero) * scale`.

    >>> from fastk import ops, quantizers
    >>> integers, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(ops.ones((5, 2)), block_size=2)
    >>> tuple(integers.shape), tuple(scale.shape)
    ((5, 2), (3, 2))
    """
    x = convert_to_tensor(inputs)
    home = x.device
    if to_numpy:
        x = x.cpu()
    rows, columns = x.shape
    groups = math.ceil(rows / block_size)
    padded = torch.nn.functional.pad(x, (0, 0, 0, groups * block_size - rows)).reshape(groups, block_size, columns)
    low, high = value_range
    least, largest = padded.amin(dim=1, keepdim=True), padded.amax(dim=1, keepdim=True)
    scale = (largest - least + epsilon) / (high - low)
    zero = ((-least / scale).round() + low).clamp(low, high)
    integers = ((padded / scale).round() + zero).clamp(low, high).to(dtypes.to_torch_dtype(dtype))
    integers = integers.reshape(groups * block_size, columns)[:rows]
    return integers.to(home), scale[:, 0].to(home), zero[:, 0].to(torch.int8).to(home)


def fake_quant_with_min_max_vars(
    inputs: Any, min_vals: Any, max_vals: Any, num_bits: int = 8, narrow_range: bool = False, axis: int | None = None
) -> torch.Tensor:
    """Values as they are after being written in `num_bits` between a least and a largest one, and read again.

    The ends are moved a little, so that zero is among the values that can be written. Where a value is between the ends
    the gradient passes as if nothing had been done; where it is not, it goes to the end.

    Args:
        inputs: a tensor.
        min_vals, max_vals: the ends: scalars, or vectors with an entry for each index of `axis`.
        num_bits: bits of a value.
        narrow_range: leave the least integer out.
        axis: the axis that ends belong to; None: all values have the same.

    >>> from fastk import quantizers
    >>> quantizers.fake_quant_with_min_max_vars([-1.0, 0.1, 0.4, 9.0], 0.0, 1.0, num_bits=2)
    tensor([0.0000, 0.0000, 0.3333, 1.0000])
    """
    x = convert_to_tensor(inputs)
    low, high = convert_to_tensor(min_vals), convert_to_tensor(max_vals)
    shape = [1] * x.ndim
    if axis is not None:
        shape[canonical_axis(axis, x.ndim)] = -1
    low, high = (end.to(torch.float32).reshape(shape if end.ndim else ()) for end in (low, high))
    return _FakeQuantized.apply(x.to(torch.float32), low, high, num_bits, narrow_range).to(x.dtype)


class _FakeQuantized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, low: Any, high: Any, num_bits: int, narrow_range: bool) -> torch.Tensor:
        first, last = int(narrow_range), (1 << num_bits) - 1
        scale = (high - low) / (last - first)
        zero = (first - low / scale).clamp(first, last).round()
        low, high = (first - zero) * scale, (last - zero) * scale
        ctx.save_for_backward(x, low, high)
        steps = (x.clamp(low, high) - low) / scale - torch.floor(-low / scale + 0.5)
        return torch.floor(steps + 0.5) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        (upstream,) = gradients
        x, low, high = ctx.saved_tensors
        inside = (x >= low) & (x <= high)
        return (
            torch.where(inside, upstream, 0.0),
            torch.where(x <= low, upstream, 0.0).sum_to_size(low.shape),
            torch.where(x >= high, upstream, 0.0).sum_to_size(high.shape),
            None,
            None,
        )


def compute_float8_scale(amax: Any, scale: Any, dtype_max: Any, margin: int = 0) -> torch.Tensor:
    """What values are divided by before they are written in 8 bits: the largest magnitude fits with `margin` bits left.

    Args:
        amax: the largest magnitude.
        scale: the scale so far, kept where `amax` is 0 or not finite.
        dtype_max: the largest value of the 8-bit dtype.
        margin: bits left.

    Source: NVIDIA's Transformer Engine, `update_fp8_metas`.

    >>> from fastk import quantizers
    >>> quantizers.compute_float8_scale(896.0, 1.0, 448.0).item()
    2.0
    """
    amax, kept = convert_to_tensor(amax), 1 / convert_to_tensor(scale)
    factor = dtype_max / amax / 2**margin
    return 1 / torch.where((amax > 0) & amax.isfinite(), factor, kept)


def compute_float8_amax_history(x: Any, amax_history: Any) -> torch.Tensor:
    """The history of largest magnitudes, moved on by one, with that of `x` first.

    >>> from fastk import quantizers
    >>> quantizers.compute_float8_amax_history([-3.0, 1.0], [1.0, 2.0]).tolist()
    [3.0, 1.0]
    """
    history = convert_to_tensor(amax_history)
    moved = torch.roll(history, -1, 0)
    moved[0] = convert_to_tensor(x).abs().amax().to(history.dtype)
    return moved


def quantize_and_dequantize(inputs: Any, scale: Any, quantized_dtype: Any, compute_dtype: Any) -> torch.Tensor:
    """Values as they are after being written in an 8-bit float, divided by `scale`, and read again.

    >>> from fastk import quantizers
    >>> quantizers.quantize_and_dequantize([1.06, 1000.0], 1.0, "float8_e4m3fn", "float32").tolist()
    [1.0, 448.0]
    """
    name = dtypes.standardize_dtype(quantized_dtype)
    if name not in FLOAT8_MAX:
        raise ValueError(f"Expected one of {', '.join(FLOAT8_MAX)}. Received: quantized_dtype={quantized_dtype!r}")
    dtype, largest = dtypes.to_torch_dtype(compute_dtype), FLOAT8_MAX[name]
    scale = convert_to_tensor(scale, dtype=dtype)
    x = (convert_to_tensor(inputs) / scale).clamp(-largest, largest)
    return x.to(getattr(torch, name)).to(dtype) * scale


def pack_int4(arr: Any, axis: int = 0, dtype: str = "int8") -> tuple[torch.Tensor, tuple, int]:
    """Two integers of 4 bits in each byte: of two neighbours along `axis`, the first in the low half.

    Args:
        arr: integers from -8 to 7 (0 to 15 for `"uint8"`), of `dtype`.
        axis: the axis along which they are packed; an odd length is filled up with zero.
        dtype: `"int8"` or `"uint8"`.

    Returns:
        `(packed, its shape, the length along the axis)`.

    >>> import numpy as np
    >>> from fastk import quantizers
    >>> packed, shape, length = quantizers.pack_int4(np.array([[-3, 7], [2, -8], [1, 0]], "int8"))
    >>> packed.tolist(), shape, length
    ([[45, -121], [1, 0]], (2, 2), 3)
    """
    _check_byte(dtype)
    given = dtypes.standardize_dtype(arr.dtype)
    if given != dtype:
        raise TypeError(f"Expected {dtype} tensor for packing, got {given}.")
    values = np.moveaxis(convert_to_numpy(arr), axis, 0).view(np.uint8) & 0x0F
    length = values.shape[0]
    values = np.concatenate([values, np.zeros((length % 2, *values.shape[1:]), np.uint8)])
    packed = np.moveaxis(values[::2] | (values[1::2] << 4), 0, axis).view(dtype)
    return convert_to_tensor(packed), packed.shape, length


def unpack_int4(packed: Any, orig_len: int, axis: int = 0, dtype: str = "int8") -> torch.Tensor:
    """What `pack_int4` packed.

    Args:
        packed: bytes of two integers each.
        orig_len: the length along `axis` before packing.
        axis: the axis along which they were packed.
        dtype: `"int8"`: integers from -8 to 7; `"uint8"`: from 0 to 15.

    >>> import numpy as np
    >>> from fastk import quantizers
    >>> quantizers.unpack_int4(np.array([[45, -121], [1, 0]], "int8"), 3).tolist()
    [[-3, 7], [2, -8], [1, 0]]
    """
    _check_byte(dtype)
    if dtypes.standardize_dtype(packed.dtype) not in ("int8", "uint8"):
        raise TypeError(f"Expected int8 or uint8 tensor for unpacking, got {packed.dtype}")
    x = convert_to_tensor(packed).movedim(axis, 0)
    halves = torch.stack([x & 0x0F, (x >> 4) & 0x0F], dim=1).flatten(0, 1)[:orig_len]
    if dtype == "int8":
        halves = (halves.to(torch.int8) ^ 8) - 8
    return halves.to(dtypes.to_torch_dtype(dtype)).movedim(0, axis)


def _check_byte(dtype: str) -> None:
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"Expected dtype to be 'int8' or 'uint8', but got '{dtype}'.")
