r"""Activations in Triton: what other kernels apply to a tile in registers, and the op itself, elementwise.

    y  = f(x)                 f: the table in `kernels.activation`
    dx = g f'(x)              g: the gradient of y

f' is taken from the result y where y determines it (`kernels.activation.saves_input`):

    relu, relu6, hard_sigmoid   1, or 1/6, strictly inside the bounds, else 0
    leaky_relu                  1 where y > 0, else 0.2
    elu, selu                   scale where y > 0, else y + scale alpha
    sigmoid    y (1 - y)        tanh   1 - y^2        softplus   1 - exp(-y), which is sigmoid(x)

and from x for the others, which are not monotonic.

Mathematics is done in float32 (float64 for float64) with a relative error of a few eps, close to 0 too: where
exp(x) - 1, log(1 + x) and 2 sigmoid(2 x) - 1 cancel, a polynomial takes over, whose coefficients minimise the greatest
relative error on its interval. In float64, which serves gradcheck, the cancelling forms are kept.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.activation.configurations import BACKWARD, FORWARD, Elements, ElementwiseConfiguration, unit
from fastk.kernels.triton_runtime import architecture, sm_count

LEAKY_SLOPE = tl.constexpr(0.2)
SELU_SCALE = tl.constexpr(1.0507009873554805)
SELU_SCALE_ALPHA = tl.constexpr(1.7580993408473766)
SQRT_HALF = tl.constexpr(0.7071067811865476)
INV_SQRT_2PI = tl.constexpr(0.3989422804014327)
GELU_TANH_1 = tl.constexpr(1.5957691216057308)  # 2 sqrt(2/pi)
GELU_TANH_3 = tl.constexpr(0.07135481627260025)  # 2 sqrt(2/pi) 0.044715


# ---------------------------------------------------------------- device functions


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)); exp's overflow gives the right 0."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def sigmoid_and_slope(x):
    """sigmoid(x) and its derivative s (1 - s), both from exp(-|x|): 1 - s would cancel."""
    e = tl.exp(-tl.abs(x))
    r = 1.0 / (1.0 + e)
    return tl.where(x > 0.0, r, e * r), e * r * r


@triton.jit
def tanh(x):
    """2 sigmoid(2x) - 1, which is right at +-50 too; below 0.6, where that cancels, x + x^3 P(x^2)."""
    y = 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0
    if x.dtype != tl.float64:
        z = x * x
        p = -0.00590584 * z + 0.02080536
        p = p * z - 0.05378667
        p = p * z + 0.13331958
        p = p * z - 0.33333299
        y = tl.where(z < 0.36, p * z * x + x, y)
    return y


@triton.jit
def expm1_negative(x):
    """exp(x) - 1 for x <= 0; above -0.5, where that cancels, x + x^2 P(x)."""
    y = tl.exp(x) - 1.0
    if x.dtype != tl.float64:
        p = 0.00112823 * x + 0.00819612
        p = p * x + 0.04163325
        p = p * x + 0.16666309
        p = p * x + 0.49999988
        y = tl.where(x > -0.5, p * x * x + x, y)
    return y


@triton.jit
def log1p_unit(x):
    """log(1 + x) for x in [0, 1]: 2 atanh(s) = 2 s (1 + s^2 P(s^2)) with s = x / (2 + x) <= 1/3."""
    if x.dtype == tl.float64:
        y = tl.log(1.0 + x)
    else:
        s = x / (2.0 + x)
        z = s * s
        p = 0.14012243 * z + 0.13999567
        p = p * z + 0.2001085
        p = p * z + 0.33333207
        s = s + s
        y = p * z * s + s
    return y


@triton.jit
def normal_cdf(x):
    """P(X <= x) for X ~ N(0, 1)."""
    return 0.5 + 0.5 * tl.erf(x * SQRT_HALF)


@triton.jit
def mish_parts(x):
    """(n, d, e, inner) with tanh(softplus(x)) = n / d and e = exp(-|x|), which cannot overflow.

    tanh(log(1 + w)) = w (w + 2) / (w (w + 2) + 2) with w = exp(x) = 1 / e, both sides times e^2 where x > 0.
    inner = e^2 or e is the factor of the derivative: see `activation_gradient`.
    """
    e = tl.exp(-tl.abs(x))
    positive = x > 0.0
    n = tl.where(positive, 1.0 + 2.0 * e, e * e + 2.0 * e)
    d = n + tl.where(positive, 2.0 * e * e, 2.0)
    return n, d, e, tl.where(positive, e * e, e)


@triton.jit
def activate(x, ACTIVATION: tl.constexpr):
    """The activation of a tile in float32 or float64; "linear" or None is x itself. NaN stays NaN."""
    if ACTIVATION is None or ACTIVATION == "linear":
        y = x
    elif ACTIVATION == "relu":
        y = tl.where(x <= 0.0, 0.0, x)
    elif ACTIVATION == "relu6":
        y = tl.where(x <= 0.0, 0.0, tl.where(x >= 6.0, 6.0, x))
    elif ACTIVATION == "leaky_relu":
        y = tl.where(x <= 0.0, x * LEAKY_SLOPE, x)
    elif ACTIVATION == "elu":
        y = tl.where(x <= 0.0, expm1_negative(x), x)
    elif ACTIVATION == "selu":
        y = tl.where(x <= 0.0, SELU_SCALE_ALPHA * expm1_negative(x), SELU_SCALE * x)
    elif ACTIVATION == "gelu":
        y = x * normal_cdf(x)
    elif ACTIVATION == "gelu_tanh":
        # (1 + tanh(u)) / 2 is sigmoid(2u), which does not cancel.
        y = x * sigmoid(x * (GELU_TANH_1 + GELU_TANH_3 * x * x))
    elif ACTIVATION == "silu":
        y = x * sigmoid(x)
    elif ACTIVATION == "sigmoid":
        y = sigmoid(x)
    elif ACTIVATION == "tanh":
        y = tanh(x)
    elif ACTIVATION == "softplus":
        y = tl.where(x <= 0.0, 0.0, x) + log1p_unit(tl.exp(-tl.abs(x)))
    elif ACTIVATION == "hard_sigmoid":
        y = tl.where(x <= -3.0, 0.0, tl.where(x >= 3.0, 1.0, (x + 3.0) / 6.0))
    else:
        tl.static_assert(ACTIVATION == "mish", "unknown activation")
        n, d, _, _ = mish_parts(x)
        y = x * (n / d)
    return y


@triton.jit
def activation_gradient(g, value, ACTIVATION: tl.constexpr):
    """g f'(x), in float32 or float64; value is x where `saves_input(ACTIVATION)`, else the activation's result."""
    if ACTIVATION is None or ACTIVATION == "linear":
        dx = g
    elif ACTIVATION == "relu":
        dx = tl.where(value <= 0.0, 0.0, g)
    elif ACTIVATION == "relu6":
        dx = tl.where((value <= 0.0) | (value >= 6.0), 0.0, g)
    elif ACTIVATION == "leaky_relu":
        dx = tl.where(value <= 0.0, g * LEAKY_SLOPE, g)
    elif ACTIVATION == "elu":
        dx = tl.where(value <= 0.0, g * (value + 1.0), g)
    elif ACTIVATION == "selu":
        dx = g * tl.where(value <= 0.0, value + SELU_SCALE_ALPHA, SELU_SCALE)
    elif ACTIVATION == "gelu":
        density = INV_SQRT_2PI * tl.exp(-0.5 * value * value)
        dx = g * (normal_cdf(value) + value * density)
    elif ACTIVATION == "gelu_tanh":
        square = value * value
        s, slope = sigmoid_and_slope(value * (GELU_TANH_1 + GELU_TANH_3 * square))
        dx = g * (s + value * slope * (GELU_TANH_1 + 3.0 * GELU_TANH_3 * square))
    elif ACTIVATION == "silu":
        s, slope = sigmoid_and_slope(value)
        dx = g * (s + value * slope)
    elif ACTIVATION == "sigmoid":
        dx = g * value * (1.0 - value)
    elif ACTIVATION == "tanh":
        dx = g * (1.0 - value * value)
    elif ACTIVATION == "softplus":
        dx = g * -expm1_negative(-value)
    elif ACTIVATION == "hard_sigmoid":
        dx = tl.where((value <= 0.0) | (value >= 1.0), 0.0, g * (1.0 / 6.0))
    else:
        tl.static_assert(ACTIVATION == "mish", "unknown activation")
        # t + x (1 - t^2) sigmoid(x), and (1 - t^2) sigmoid(x) = 4 (1 + w) w / d^2.
        n, d, e, inner = mish_parts(value)
        r = 1.0 / d
        dx = g * (n * r + value * (4.0 * (1.0 + e) * inner * r * r))
    return dx


# ---------------------------------------------------------------- the elementwise op


def supports(op: str, x: Tensor, name: str | None) -> str | None:
    """None, or why not: the kernels take floats."""
    return None if x.is_floating_point() else f"the Triton kernels of {op} take floats, not {x.dtype}"


@triton.jit
def activation_forward_kernel(y_ptr, x_ptr, units, ACTIVATION: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr):
    """y = f(x) over a flat tensor of units * UNIT elements, BLOCK units a program."""
    offs_u = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    offs = offs_u[:, None] * UNIT + tl.arange(0, UNIT)[None, :]
    mask = offs_u[:, None] < units
    x = tl.load(x_ptr + offs, mask=mask)  # [BLOCK, UNIT]
    y = activate(compute_type(x), ACTIVATION)
    tl.store(y_ptr + offs, y.to(x.dtype), mask=mask)


@triton.jit
def activation_backward_kernel(
    dx_ptr, g_ptr, value_ptr, units, ACTIVATION: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr
):
    """dx = g f'(x) over flat tensors of units * UNIT elements, BLOCK units a program."""
    offs_u = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    offs = offs_u[:, None] * UNIT + tl.arange(0, UNIT)[None, :]
    mask = offs_u[:, None] < units
    g = tl.load(g_ptr + offs, mask=mask)  # [BLOCK, UNIT]
    value = tl.load(value_ptr + offs, mask=mask)  # [BLOCK, UNIT]
    dx = activation_gradient(compute_type(g), compute_type(value), ACTIVATION)
    tl.store(dx_ptr + offs, dx.to(g.dtype), mask=mask)


@triton.jit
def compute_type(x):
    """x in float32; in float64 where that is its type."""
    return x if x.dtype == tl.float64 else x.to(tl.float32)


def activation_forward(x: Tensor, name: str | None, configuration: ElementwiseConfiguration | None = None) -> Tensor:
    """f(x), in the memory order of x."""
    y = torch.empty_like(x)
    numel = y.numel()
    if numel:
        problem = Elements(numel, x.dtype, name, architecture(), sm_count())
        chosen = configuration or configuration_for(FORWARD, problem, (x, name))
        _launch(activation_forward_kernel, (y, _laid_out_as(y, x)), numel, name, chosen)
    return y


def activation_backward(
    g: Tensor, value: Tensor, name: str | None, configuration: ElementwiseConfiguration | None = None
) -> Tensor:
    """g f'(x), value being x where `saves_input(name)`, else the result."""
    dx = torch.empty_like(value)
    numel = dx.numel()
    if numel:
        tensors = (dx, _laid_out_as(dx, g), _laid_out_as(dx, value))
        problem = Elements(numel, g.dtype, name, architecture(), sm_count())
        chosen = configuration or configuration_for(BACKWARD, problem, (g, value, name))
        _launch(activation_backward_kernel, tensors, numel, name, chosen)
    return dx


def _laid_out_as(target: Tensor, x: Tensor) -> Tensor:
    """x, copied where its elements are in another order in memory than the target's."""
    return x if x.stride() == target.stride() else torch.empty_like(target).copy_(x)


def _launch(kernel, tensors: tuple, numel: int, name: str | None, chosen: ElementwiseConfiguration):
    size = unit(numel)
    kernel[(triton.cdiv(numel, chosen.block),)](
        *tensors,
        numel // size,
        ACTIVATION=name,
        UNIT=size,
        BLOCK=chosen.block // size,
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
    )
