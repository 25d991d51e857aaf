"""The arithmetic of the GPU in numpy: bfloat16, TF32, the products of `tl.dot`, elementwise functions by name.

numpy has no bfloat16, so Triton's interpreter keeps the bits in uint16, and these functions take and give such arrays.

>>> import numpy as np
>>> decode_bfloat16(encode_bfloat16(np.float32([1.00390625, 1.01171875])))  # half a step above 1 and above 1.0078125
array([1.      , 1.015625], dtype=float32)
>>> truncate_tf32(np.float32([1 + 2**-10, 1 + 2**-11])) - 1
array([0.00097656, 0.        ], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Array = np.ndarray

_TF32_MASK = np.uint32(0xFFFFE000)  # 1 sign, 8 exponent and 10 mantissa bits of the 32
_TF32_HALF = np.uint32(0x00001000)


def decode_bfloat16(bits: Array) -> Array:
    """The float32 values of bfloat16 bits; exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def encode_bfloat16(values: Array) -> Array:
    """The bits of `values` rounded to bfloat16, ties to even; a NaN stays a NaN."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    bits = values.view(np.uint32)
    last_kept = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + last_kept) >> np.uint32(16)).astype(np.uint16)
    nan = np.isnan(values)
    if nan.any():
        rounded[nan] = 0x7FC0
    return rounded


def truncate_tf32(values: Array) -> Array:
    """`values` as the tensor core reads a float32 register as TF32: the low 13 bits are ignored."""
    return (np.ascontiguousarray(values).view(np.uint32) & _TF32_MASK).view(np.float32)


def round_tf32(values: Array) -> Array:
    """`values` rounded to TF32, ties away from zero, as `cvt.rna.tf32.f32` does."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(np.isfinite(values), ((bits + _TF32_HALF) & _TF32_MASK).view(np.float32), values)


def matmul(a: Array, b: Array, accumulator: Array, precision: str) -> Array:
    """accumulator + a @ b as `tl.dot` computes it.

    Products of float16 and of bfloat16 (decoded) are exact in float32, integers are summed in int32, float64 in itself.
    For float32 `precision` is "ieee", "tf32" or "tf32x3". The last splits each operand into a TF32 number and
    a rest and adds three products; only the rest times the rest, below the last bit of float32, is left out.
    """
    if a.dtype == np.float32 and precision == "tf32":
        a, b = truncate_tf32(a), truncate_tf32(b)
    elif a.dtype == np.float32 and precision == "tf32x3":
        large_a, large_b = round_tf32(a), round_tf32(b)
        rest_a, rest_b = truncate_tf32(a - large_a), truncate_tf32(b - large_b)
        rest = rest_a @ large_b + large_a @ rest_b
        accumulator = accumulator + np.where(np.isnan(rest), np.float32(0), rest)  # inf - inf, where the result is inf
        a, b = large_a, large_b
    elif a.dtype == np.float16:
        a, b = a.astype(np.float32), b.astype(np.float32)
    elif a.dtype.kind in "iu":
        a, b = a.astype(np.int32), b.astype(np.int32)
    return (accumulator + a @ b).astype(accumulator.dtype, copy=False)


def fused_multiply_add(x: Array, y: Array, z: Array) -> Array:
    """x * y + z with the product exact: computed in float64, in which products of float32 and of float16 are."""
    return (x.astype(np.float64) * y + z).astype(z.dtype)


def multiply_high(x: Array, y: Array) -> Array:
    """The upper half of the product of the unsigned integers that x and y hold, in their own type."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    width = unsigned.itemsize * 8
    x_bits, y_bits = x.view(unsigned), y.view(unsigned)
    if width < 64:
        wide = np.dtype(f"u{2 * unsigned.itemsize}")
        return ((x_bits.astype(wide) * y_bits) >> wide.type(width)).astype(unsigned).view(x.dtype)
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    x_high, x_low, y_high, y_low = x_bits >> half, x_bits & low, y_bits >> half, y_bits & low
    carry = (x_low * y_low) >> half
    middle = x_high * y_low + carry
    other_middle = x_low * y_high + (middle & low)
    return (x_high * y_high + (middle >> half) + (other_middle >> half)).view(x.dtype)


def _through_torch(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Array], Array]:
    return lambda x: function(torch.from_numpy(np.ascontiguousarray(x))).numpy()


erf = _through_torch(torch.erf)

ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "copysign": np.copysign,
    "cos": np.cos,
    "cosh": np.cosh,
    "div_rn": np.divide,
    "erf": erf,
    "erfc": _through_torch(torch.erfc),
    "erfinv": _through_torch(torch.erfinv),
    "exp": np.exp,
    "exp10": lambda x: np.power(x.dtype.type(10), x),
    "exp2": np.exp2,
    "expm1": np.expm1,
    "fabs": np.abs,
    "floor": np.floor,
    "fma": fused_multiply_add,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "fmod": np.fmod,
    "isinf": np.isinf,
    "isnan": np.isnan,
    "lgamma": _through_torch(torch.lgamma),
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "pow": np.power,
    "rcp_rn": np.reciprocal,
    "rint": np.rint,
    "round": lambda x: np.copysign(np.floor(np.abs(x) + x.dtype.type(0.5)), x),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "sqrt_rn": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "trunc": np.trunc,
}
"""Functions of CUDA's libdevice by their names without `__nv_`, `fast_` and the `f` of float32."""

INLINE_ASSEMBLY: dict[str, Callable[..., Array]] = {
    "cos.approx.f32": np.cos,
    "ex2.approx.f32": np.exp2,
    "ex2.approx.ftz.f32": np.exp2,
    "lg2.approx.f32": np.log2,
    "lg2.approx.ftz.f32": np.log2,
    "rcp.approx.f32": np.reciprocal,
    "rcp.approx.ftz.f32": np.reciprocal,
    "rsqrt.approx.f32": lambda x: 1 / np.sqrt(x),
    "rsqrt.approx.ftz.f32": lambda x: 1 / np.sqrt(x),
    "sin.approx.f32": np.sin,
    "tanh.approx.f32": np.tanh,
}
"""What one instruction computes, by its name; `tl.inline_asm_elementwise` of a single instruction finds it here."""


def libdevice(symbol: str) -> Callable[..., Array]:
    """The function for a symbol of libdevice, e.g. "__nv_tanhf" or "__nv_fast_expf"."""
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    function = ELEMENTWISE.get(name) or ELEMENTWISE.get(name.removesuffix("f"))
    if function is None:
        raise NotImplementedError(
            f"The interpreter does not know {symbol} of libdevice. Add {name.removesuffix('f')!r} to ELEMENTWISE in "
            "kernels/verify/numerics.py, or write the kernel with functions that are in it."
        )
    return function


def instruction(assembly: str) -> Callable[..., Array]:
    """The function for inline assembly of one instruction, e.g. "tanh.approx.f32 $0, $1;"."""
    words = assembly.replace("{", " ").split()
    name = words[0] if words else ""
    if name not in INLINE_ASSEMBLY or assembly.count(";") > 1:
        raise NotImplementedError(
            f"The interpreter does not know the inline assembly {assembly!r}. Add its only instruction to "
            "INLINE_ASSEMBLY in kernels/verify/numerics.py."
        )
    return INLINE_ASSEMBLY[name]
