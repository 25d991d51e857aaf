"""Functions of each element: one line each where torch has the function, a definition where Keras's dtypes differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import NUMBERS, dtype_of, floating, floatx, operands, promoted, result_dtype
from fastk.ops.registration import elementwise, operation
from fastk.ops.shapes import broadcast_shapes, shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "abs",
    "absolute",
    "add",
    "allclose",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "copy",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "divide_no_nan",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "i0",
    "imag",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "nextafter",
    "not_equal",
    "power",
    "rad2deg",
    "real",
    "reciprocal",
    "right_shift",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
]


def _unary(name: str, function: Callable, doc: str, prepare: Callable = floating) -> Callable:
    """`function` of `prepare(x)`, as the operation `name`."""

    def apply(x: Any) -> torch.Tensor:
        return function(prepare(x))

    return elementwise("x")(_named(apply, name, doc))


def _binary(
    name: str, function: Callable, doc: str, prepare: Callable = operands, arguments: str = "x1 x2"
) -> Callable:
    """`function` of `prepare(x1, x2)`, as the operation `name`."""
    if arguments == "x y":

        def apply_xy(x: Any, y: Any) -> torch.Tensor:
            return function(*prepare(x, y))

        return elementwise(arguments)(_named(apply_xy, name, doc))

    def apply(x1: Any, x2: Any) -> torch.Tensor:
        return function(*prepare(x1, x2))

    return elementwise(arguments)(_named(apply, name, doc))


def _named(function: Callable, name: str, doc: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _tensors(x1: Any, x2: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return convert_to_tensor(x1), convert_to_tensor(x2)


def _promoted_floating(x1: Any, x2: Any) -> tuple[torch.Tensor, ...]:
    return promoted(x1, x2, at_least=float)


def _bool_as_int(x: Any) -> torch.Tensor:
    x = convert_to_tensor(x)
    return x.to(torch.int32) if x.dtype is torch.bool else x


def _integer_operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """As `operands`, two booleans as int32."""
    x1, x2 = operands(x1, x2)
    if (
        getattr(x1, "dtype", None) is torch.bool
        and getattr(x2, "dtype", torch.bool) is torch.bool
        and type(x2) is not int
    ):
        x1 = x1.to(torch.int32)
    return x1, x2


# ---------------------------------------------------------------- of one argument, floating point

arccos = _unary("arccos", torch.arccos, "The angle in [0, pi] whose cosine is `x`.")
arccosh = _unary("arccosh", torch.arccosh, "The inverse hyperbolic cosine.")
arcsin = _unary("arcsin", torch.arcsin, "The angle in [-pi/2, pi/2] whose sine is `x`.")
arcsinh = _unary("arcsinh", torch.arcsinh, "The inverse hyperbolic sine.")
arctan = _unary("arctan", torch.arctan, "The angle in [-pi/2, pi/2] whose tangent is `x`.")
arctanh = _unary("arctanh", torch.arctanh, "The inverse hyperbolic tangent.")
cos = _unary("cos", torch.cos, "The cosine of an angle in radians.")
cosh = _unary("cosh", torch.cosh, "The hyperbolic cosine.")
deg2rad = _unary("deg2rad", torch.deg2rad, "Degrees as radians.")
exp = _unary("exp", torch.exp, "e to the power of `x`.")
exp2 = _unary("exp2", torch.exp2, "2 to the power of `x`.")
expm1 = _unary("expm1", torch.expm1, "`exp(x) - 1`, exact for small `x`.")
fabs = _unary("fabs", torch.abs, "The absolute value, as floating point.")
floor = _unary("floor", torch.floor, "The largest integer that is not above `x`, as floating point.")
ceil = _unary("ceil", torch.ceil, "The smallest integer that is not below `x`, as floating point.")
i0 = _unary("i0", torch.i0, "The modified Bessel function of the first kind, order 0.")
log = _unary("log", torch.log, "The natural logarithm.")
log10 = _unary("log10", torch.log10, "The logarithm to base 10.")
log1p = _unary("log1p", torch.log1p, "`log(1 + x)`, exact for small `x`.")
log2 = _unary("log2", torch.log2, "The logarithm to base 2.")
rad2deg = _unary("rad2deg", torch.rad2deg, "Radians as degrees.")
reciprocal = _unary("reciprocal", torch.reciprocal, "`1 / x`.")
sin = _unary("sin", torch.sin, "The sine of an angle in radians.")
sinc = _unary("sinc", torch.sinc, "`sin(pi x) / (pi x)`, 1 at 0.")
sinh = _unary("sinh", torch.sinh, "The hyperbolic sine.")
sqrt = _unary("sqrt", torch.sqrt, "The square root.")
tan = _unary("tan", torch.tan, "The tangent of an angle in radians.")
tanh = _unary("tanh", torch.tanh, "The hyperbolic tangent.")
cbrt = _unary("cbrt", lambda x: torch.sign(x) * torch.abs(x) ** (1.0 / 3.0), "The real cube root.")

# ---------------------------------------------------------------- of one argument, dtype kept

conjugate = _unary("conjugate", lambda x: torch.conj(x).resolve_conj(), "The complex conjugate.", convert_to_tensor)
copy = _unary("copy", torch.clone, "A copy.", convert_to_tensor)
imag = _unary(
    "imag", lambda x: torch.imag(x) if x.is_complex() else torch.zeros_like(x), "The imaginary part.", convert_to_tensor
)
real = _unary("real", lambda x: torch.real(x) if x.is_complex() else x, "The real part.", convert_to_tensor)
angle = _unary("angle", torch.angle, "The angle of a complex number, in radians.", convert_to_tensor)
negative = _unary("negative", torch.negative, "`-x`.", convert_to_tensor)
sign = _unary("sign", torch.sign, "-1, 0 or 1, by the sign of `x`.", convert_to_tensor)
square = _unary("square", torch.square, "`x * x`; booleans as int32.", _bool_as_int)
absolute = _unary(
    "absolute", lambda x: x if x.dtype is torch.bool else torch.abs(x), "The absolute value.", convert_to_tensor
)
trunc = _unary(
    "trunc",
    lambda x: torch.trunc(x) if x.is_floating_point() else x,
    "`x` without its fractional part.",
    convert_to_tensor,
)
abs = absolute
conj = conjugate

# ---------------------------------------------------------------- of one argument, true or false

isfinite = _unary("isfinite", torch.isfinite, "Whether `x` is neither infinite nor NaN.", convert_to_tensor)
isinf = _unary("isinf", torch.isinf, "Whether `x` is infinite.", convert_to_tensor)
isnan = _unary("isnan", torch.isnan, "Whether `x` is NaN.", convert_to_tensor)
isneginf = _unary("isneginf", torch.isneginf, "Whether `x` is negative infinity.", convert_to_tensor)
isposinf = _unary("isposinf", torch.isposinf, "Whether `x` is positive infinity.", convert_to_tensor)
isreal = _unary("isreal", torch.isreal, "Whether the imaginary part of `x` is 0.", convert_to_tensor)
logical_not = _unary("logical_not", torch.logical_not, "Whether `x` is 0 or False.", convert_to_tensor)
signbit = _unary(
    "signbit", torch.signbit, "Whether the sign bit is set: for negative numbers and -0.0.", convert_to_tensor
)
bitwise_invert = _unary("bitwise_invert", torch.bitwise_not, "Each bit inverted.", convert_to_tensor)
bitwise_not = _unary("bitwise_not", torch.bitwise_not, "Each bit inverted.", convert_to_tensor)

# ---------------------------------------------------------------- of two arguments, arithmetic

add = _binary("add", torch.add, "`x1 + x2`.")
multiply = _binary("multiply", torch.multiply, "`x1 * x2`.")
divide = _binary("divide", torch.divide, "`x1 / x2`; of integers, floating point.")
true_divide = _binary("true_divide", torch.divide, "`x1 / x2`; of integers, floating point.")
mod = _binary("mod", torch.remainder, "The remainder of `x1 / x2`, with the sign of `x2`.", _integer_operands)
fmod = _binary("fmod", torch.fmod, "The remainder of `x1 / x2`, with the sign of `x1`.", _integer_operands)
power = _binary("power", torch.pow, "`x1` to the power of `x2`.")
maximum = _binary("maximum", torch.maximum, "The larger of both; NaN where one is.", promoted)
minimum = _binary("minimum", torch.minimum, "The smaller of both; NaN where one is.", promoted)
fmax = _binary("fmax", torch.fmax, "The larger of both; the other one where one is NaN.", promoted)
fmin = _binary("fmin", torch.fmin, "The smaller of both; the other one where one is NaN.", promoted)
arctan2 = _binary("arctan2", torch.arctan2, "The angle of the point (x2, x1), in radians.", _promoted_floating)
hypot = _binary("hypot", torch.hypot, "`sqrt(x1**2 + x2**2)`.", _promoted_floating)
heaviside = _binary(
    "heaviside", torch.heaviside, "0 where `x1 < 0`, 1 where `x1 > 0`, `x2` where it is 0.", _promoted_floating
)
logaddexp = _binary("logaddexp", torch.logaddexp, "`log(exp(x1) + exp(x2))` without overflow.", _promoted_floating)
logaddexp2 = _binary("logaddexp2", torch.logaddexp2, "`log2(2**x1 + 2**x2)` without overflow.", _promoted_floating)
gcd = _binary("gcd", torch.gcd, "The greatest common divisor of integers.", _tensors)
lcm = _binary("lcm", torch.lcm, "The least common multiple of integers.", _tensors)

# ---------------------------------------------------------------- of two arguments, comparisons, logic, bits

equal = _binary("equal", torch.eq, "`x1 == x2`.")
not_equal = _binary("not_equal", torch.ne, "`x1 != x2`.")
greater = _binary("greater", torch.greater, "`x1 > x2`.")
greater_equal = _binary("greater_equal", torch.greater_equal, "`x1 >= x2`.")
less = _binary("less", torch.less, "`x1 < x2`.")
less_equal = _binary("less_equal", torch.less_equal, "`x1 <= x2`.")
logical_and = _binary("logical_and", torch.logical_and, "Whether both are true.", _tensors)
logical_or = _binary("logical_or", torch.logical_or, "Whether one or both are true.", _tensors)
logical_xor = _binary("logical_xor", torch.logical_xor, "Whether exactly one is true.", _tensors)
bitwise_and = _binary("bitwise_and", torch.bitwise_and, "The bits set in both.", operands, "x y")
bitwise_or = _binary("bitwise_or", torch.bitwise_or, "The bits set in one or both.", operands, "x y")
bitwise_xor = _binary("bitwise_xor", torch.bitwise_xor, "The bits set in exactly one.", operands, "x y")
bitwise_left_shift = _binary("bitwise_left_shift", torch.bitwise_left_shift, "`x << y`.", operands, "x y")
left_shift = _binary("left_shift", torch.bitwise_left_shift, "`x << y`.", operands, "x y")
bitwise_right_shift = _binary("bitwise_right_shift", torch.bitwise_right_shift, "`x >> y`.", operands, "x y")
right_shift = _binary("right_shift", torch.bitwise_right_shift, "`x >> y`.", operands, "x y")


@elementwise("x1 x2")
def subtract(x1: Any, x2: Any) -> torch.Tensor:
    """`x1 - x2`."""
    x1, x2 = operands(x1, x2)
    # torch has no subtraction of booleans.
    if x1.dtype is torch.bool:
        x1 = x1.to(getattr(x2, "dtype", torch.int32))
    if isinstance(x2, torch.Tensor) and x2.dtype is torch.bool:
        x2 = x2.to(x1.dtype)
    return torch.subtract(x1, x2)


@elementwise("x1 x2")
def divide_no_nan(x1: Any, x2: Any) -> torch.Tensor:
    """`x1 / x2`, 0 where `x2` is 0; also its gradient is finite there.

    >>> from fastk import ops
    >>> ops.divide_no_nan([1.0, 2.0], [0.0, 4.0])
    tensor([0.0000, 0.5000])
    """
    x1, x2 = promoted(x1, x2, at_least=float)
    zero = x2 == 0
    return torch.where(zero, 0, torch.divide(x1, torch.where(zero, 1, x2)))


@elementwise("x1 x2")
def floor_divide(x1: Any, x2: Any) -> torch.Tensor:
    """The largest integer that is not above `x1 / x2`, in the dtype of the arguments."""
    dtype = result_dtype(*(type(x) if type(x) in NUMBERS else convert_to_tensor(x).dtype for x in (x1, x2)))
    x1, x2 = operands(x1, x2)
    if x1.dtype is torch.bool:
        x1 = x1.to(torch.uint8)
    return torch.floor_divide(x1, x2).to(dtype)


def _ldexp_spec(x1: Any, x2: Any) -> KerasTensor:
    dtype = dtypes.result_type(dtype_of(x1), dtype_of(x2), float)
    return KerasTensor(broadcast_shapes(shape_of(x1), shape_of(x2)), dtype=dtype)


@operation("x1 x2", spec=_ldexp_spec)
def ldexp(x1: Any, x2: Any) -> torch.Tensor:
    """`x1 * 2**x2`, `x2` being integers."""
    x1, x2 = convert_to_tensor(x1), convert_to_tensor(x2)
    if x2.is_floating_point() or x2.is_complex() or x2.dtype is torch.bool:
        raise TypeError(f"ldexp exponent must be an integer type. Received: x2 dtype={x2.dtype}")
    return torch.ldexp(x1, x2).to(result_dtype(x1.dtype, x2.dtype, float))


@elementwise("x1 x2")
def nextafter(x1: Any, x2: Any) -> torch.Tensor:
    """The next float64 after `x1` towards `x2`, in the dtype of the arguments."""
    dtype = result_dtype(*(convert_to_tensor(x).dtype for x in (x1, x2)), float)
    return torch.nextafter(*(convert_to_tensor(x, dtype="float64") for x in (x1, x2))).to(dtype)


def _isclose_spec(x1: Any, x2: Any, **tolerances: Any) -> KerasTensor:
    return KerasTensor(broadcast_shapes(shape_of(x1), shape_of(x2)), dtype="bool")


@operation("x1 x2 rtol atol", spec=_isclose_spec)
def isclose(x1: Any, x2: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> torch.Tensor:
    """Whether `|x1 - x2| <= atol + rtol * |x2|`; integers, whether they are equal."""
    x1, x2 = promoted(x1, x2)
    if not x1.is_floating_point():
        return torch.eq(x1, x2)
    return torch.isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)


def _allclose_spec(x1: Any, x2: Any, **tolerances: Any) -> KerasTensor:
    broadcast_shapes(shape_of(x1), shape_of(x2))
    return KerasTensor((), dtype="bool")


@operation("x1 x2", spec=_allclose_spec, name="AllClose")
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> torch.Tensor:
    """Whether all elements of `x1` and `x2` are close: a boolean scalar tensor."""
    return torch.all(isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan))


@elementwise("x")
def clip(x: Any, x_min: Any, x_max: Any) -> torch.Tensor:
    """`x` with values below `x_min` or above `x_max` replaced by these.

    >>> from fastk import ops
    >>> ops.clip([-2.0, 0.5, 9.0], 0.0, 1.0)
    tensor([0.0000, 0.5000, 1.0000])
    """
    x = _bool_as_int(x)
    if type(x_min) in NUMBERS and type(x_max) in NUMBERS:
        # Weak numbers keep the dtype of a floating-point x, as 0-dimensional tensors would.
        return torch.clamp(x, x_min, x_max)
    return torch.clamp(x, convert_to_tensor(x_min), convert_to_tensor(x_max))


@elementwise("x")
def round(x: Any, decimals: int = 0) -> torch.Tensor:
    """`x` rounded to `decimals` decimal places, halves to the even neighbour."""
    x = convert_to_tensor(x)
    if x.is_floating_point():
        return torch.round(x, decimals=decimals)
    if decimals >= 0:
        return x
    return torch.round(x.to(floatx()), decimals=decimals).to(x.dtype)


@elementwise("x")
def nan_to_num(x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> torch.Tensor:
    """`x` with NaN replaced by `nan` and infinities by the given, by default the largest finite, values."""
    return torch.nan_to_num(convert_to_tensor(x), nan=nan, posinf=posinf, neginf=neginf)
