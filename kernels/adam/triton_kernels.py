r"""adam_ in Triton: every tensor in one launch and one pass (`kernels.triton_multi_tensor`).

    g      = what `kernels.step_options` makes of the gradient
    param -= learning_rate weight_decay param                  where decay applies
    m     += (1 - beta_1) (g - m)
    v     += (1 - beta_2) (g^2 - v),   vhat = max(vhat, v)
    param -= learning_rate c m / (sqrt(vhat or v) + epsilon),  c = sqrt(1 - beta_2^t) / (1 - beta_1^t)

Arithmetic is float32, rounded once at each store. c comes from the host where that knows t, in float64; else from the
device's t as -expm1(t log beta), which loses no digits where beta^t is close to 1.

Least bytes in float32: read param, g, m, v, write param, m, v: 28 a parameter; 36 with vhat. Clipping by a norm reads
the gradients once more before: 4.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels import triton_multi_tensor as multi_tensor
from fastk.kernels.adam.configurations import TUNABLE, Parameters, StepConfiguration
from fastk.kernels.step_options import StepOptions
from fastk.kernels.triton_multi_tensor import (
    clipped,
    gradient_factor,
    open_chunk,
    rate_and_decay,
    values_at,
    whole_vectors,
)


@triton.jit
def one_minus_power(log_beta, t):
    """1 - beta^t = -expm1(t log beta); above -0.5, where 1 - exp(x) cancels, a power series."""
    x = t * log_beta
    series = 1.0 + x * 0.1
    for k in tl.static_range(9, 1, -1):
        series = 1.0 + x * series * (1.0 / k)
    return tl.where(x > -0.5, -x * series, 1.0 - tl.exp(x))


@triton.jit
def _move(
    p_ptr,
    g_ptr,
    m_ptr,
    v_ptr,
    h_ptr,
    offs,
    mask,
    factor,
    limit,
    decay,
    rate,
    complement_1,
    complement_2,
    epsilon,
    AMSGRAD: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    CLIP: tl.constexpr,
):
    """The step of the elements at `offs`."""
    g = tl.load(g_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    m = tl.load(m_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    v = tl.load(v_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    p = tl.load(p_ptr + offs, mask=mask)  # [BLOCK]
    g = clipped(g, factor, limit, HAS_FACTOR, CLIP)
    m += complement_1 * (g - m)
    v += complement_2 * (g * g - v)
    largest = v
    if AMSGRAD:
        h = tl.load(h_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
        largest = tl.where(v <= h, h, v)
        tl.store(h_ptr + offs, largest.to(p.dtype), mask=mask)
    moved = p.to(tl.float32) * decay - rate * m / (tl.sqrt(largest) + epsilon)
    tl.store(m_ptr + offs, m.to(p.dtype), mask=mask)
    tl.store(v_ptr + offs, v.to(p.dtype), mask=mask)
    tl.store(p_ptr + offs, moved.to(p.dtype), mask=mask)


@triton.jit
def _adam_kernel(
    table_ptr,
    chunks_ptr,
    partials_ptr,
    scale_ptr,
    found_inf_ptr,
    rate_ptr,
    step_ptr,
    rate,
    inverse_scale,
    correction,
    log_beta_1,
    log_beta_2,
    complement_1,
    complement_2,
    epsilon,
    weight_decay,
    limit,
    spans,
    LISTS: tl.constexpr,
    AMSGRAD: tl.constexpr,
    HAS_DECAY: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    CLIP: tl.constexpr,
    DTYPE: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    SPANS: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row_ptr, first, count = open_chunk(table_ptr, chunks_ptr, found_inf_ptr, LISTS, BLOCK)
    p_ptr = values_at(row_ptr, 0, first, DTYPE, ALIGNMENT)
    g_ptr = values_at(row_ptr, 1, first, DTYPE, ALIGNMENT)
    m_ptr = values_at(row_ptr, 2, first, DTYPE, ALIGNMENT)
    v_ptr = values_at(row_ptr, 3, first, DTYPE, ALIGNMENT)
    h_ptr = p_ptr
    if AMSGRAD:
        h_ptr = values_at(row_ptr, 4, first, DTYPE, ALIGNMENT)
    factor = 1.0
    if HAS_FACTOR:
        factor = gradient_factor(
            row_ptr, partials_ptr, scale_ptr, inverse_scale, spans, limit, LISTS, CLIP, SPANS
        )  # fmt: skip
    rate, decay = rate_and_decay(rate_ptr, rate, weight_decay, row_ptr, LISTS, HAS_DECAY)
    if step_ptr is not None:
        t = tl.load(step_ptr).to(tl.float32)
        rate *= tl.sqrt(one_minus_power(log_beta_2, t)) / one_minus_power(log_beta_1, t)
    else:
        rate *= correction
    whole = whole_vectors(count, DTYPE)
    offs = tl.arange(0, BLOCK)
    _move(
        p_ptr, g_ptr, m_ptr, v_ptr, h_ptr, offs, offs < whole, factor, limit, decay, rate, complement_1, complement_2,
        epsilon, AMSGRAD, HAS_FACTOR, CLIP,
    )  # fmt: skip
    if whole < count:
        tail = whole + tl.arange(0, TAIL)
        _move(
            p_ptr, g_ptr, m_ptr, v_ptr, h_ptr, tail, tail < count, factor, limit, decay, rate, complement_1,
            complement_2, epsilon, AMSGRAD, HAS_FACTOR, CLIP,
        )  # fmt: skip


def adam_(
    params: list[Tensor],
    grads: list[Tensor],
    m: list[Tensor],
    v: list[Tensor],
    vhat: list[Tensor] | None,
    step: Tensor | int,
    learning_rate: Tensor | float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    options: StepOptions | None,
    configuration: StepConfiguration | None = None,
) -> None:
    """One step; see the contract in `kernels.adam`."""
    lists = (params, grads, m, v) if vhat is None else (params, grads, m, v, vhat)
    counted = multi_tensor.on_device(step)
    correction = 1.0
    if not counted:
        t = int(step)
        correction = math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
    arguments = (params, grads, m, v, vhat, step, learning_rate, beta_1, beta_2, epsilon, options)
    chosen = configuration or configuration_for(TUNABLE, Parameters.of(lists), arguments)
    launch = multi_tensor.prepare(lists, learning_rate, options, chosen)
    if launch is None:
        return
    _adam_kernel[launch.grid](
        **launch.arguments,
        step_ptr=step if counted else None,
        correction=correction,
        log_beta_1=_log(beta_1),
        log_beta_2=_log(beta_2),
        complement_1=1.0 - beta_1,
        complement_2=1.0 - beta_2,
        epsilon=float(epsilon),
        AMSGRAD=vhat is not None,
    )


def supports(op: str, params: list[Tensor], grads: list[Tensor], m, v, vhat, *others) -> str | None:
    """None, or why the step cannot be taken by the kernel."""
    return multi_tensor.why_not(params, grads, m, v, *(() if vhat is None else (vhat,)))


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0.0 else -math.inf
