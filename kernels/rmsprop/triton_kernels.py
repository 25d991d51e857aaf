r"""rmsprop_ in Triton: every tensor in one launch and one pass (`kernels.triton_multi_tensor`).

    g             = what `kernels.step_options` makes of the gradient
    param        -= learning_rate weight_decay param           where decay applies
    velocity     += (1 - rho) (g^2 - velocity)
    average_grad += (1 - rho) (g - average_grad)               centered only
    increment     = learning_rate g / sqrt(velocity [- average_grad^2] + epsilon)
    with momenta    m = momentum m + increment;  param -= m
    without         param -= increment

Arithmetic is float32, rounded once at each store. Least bytes in float32: 20 a parameter, and 8 more for each of
momenta and average gradients; clipping by a norm reads the gradients once more before: 4.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels import triton_multi_tensor as multi_tensor
from fastk.kernels.rmsprop.configurations import TUNABLE, Parameters, StepConfiguration
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
def _move(
    p_ptr,
    g_ptr,
    v_ptr,
    m_ptr,
    a_ptr,
    offs,
    mask,
    factor,
    limit,
    decay,
    rate,
    complement,
    momentum,
    epsilon,
    HAS_MOMENTA: tl.constexpr,
    CENTERED: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    CLIP: tl.constexpr,
):
    """The step of the elements at `offs`."""
    g = tl.load(g_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    v = tl.load(v_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    p = tl.load(p_ptr + offs, mask=mask)  # [BLOCK]
    g = clipped(g, factor, limit, HAS_FACTOR, CLIP)
    v += complement * (g * g - v)
    tl.store(v_ptr + offs, v.to(p.dtype), mask=mask)
    if CENTERED:
        a = tl.load(a_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
        a += complement * (g - a)
        tl.store(a_ptr + offs, a.to(p.dtype), mask=mask)
        v -= a * a
    move = rate * g / tl.sqrt(v + epsilon)
    if HAS_MOMENTA:
        move += momentum * tl.load(m_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
        tl.store(m_ptr + offs, move.to(p.dtype), mask=mask)
    tl.store(p_ptr + offs, (p.to(tl.float32) * decay - move).to(p.dtype), mask=mask)


@triton.jit
def _rmsprop_kernel(
    table_ptr,
    chunks_ptr,
    partials_ptr,
    scale_ptr,
    found_inf_ptr,
    rate_ptr,
    rate,
    inverse_scale,
    complement,
    momentum,
    epsilon,
    weight_decay,
    limit,
    spans,
    LISTS: tl.constexpr,
    HAS_MOMENTA: tl.constexpr,
    CENTERED: tl.constexpr,
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
    v_ptr = values_at(row_ptr, 2, first, DTYPE, ALIGNMENT)
    m_ptr = p_ptr
    if HAS_MOMENTA:
        m_ptr = values_at(row_ptr, 3, first, DTYPE, ALIGNMENT)
    a_ptr = p_ptr
    if CENTERED:
        a_ptr = values_at(row_ptr, LISTS - 1, first, DTYPE, ALIGNMENT)
    factor = 1.0
    if HAS_FACTOR:
        factor = gradient_factor(
            row_ptr, partials_ptr, scale_ptr, inverse_scale, spans, limit, LISTS, CLIP, SPANS
        )  # fmt: skip
    rate, decay = rate_and_decay(rate_ptr, rate, weight_decay, row_ptr, LISTS, HAS_DECAY)
    whole = whole_vectors(count, DTYPE)
    offs = tl.arange(0, BLOCK)
    _move(
        p_ptr, g_ptr, v_ptr, m_ptr, a_ptr, offs, offs < whole, factor, limit, decay, rate, complement, momentum,
        epsilon, HAS_MOMENTA, CENTERED, HAS_FACTOR, CLIP,
    )  # fmt: skip
    if whole < count:
        tail = whole + tl.arange(0, TAIL)
        _move(
            p_ptr, g_ptr, v_ptr, m_ptr, a_ptr, tail, tail < count, factor, limit, decay, rate, complement, momentum,
            epsilon, HAS_MOMENTA, CENTERED, HAS_FACTOR, CLIP,
        )  # fmt: skip


def rmsprop_(
    params: list[Tensor],
    grads: list[Tensor],
    velocities: list[Tensor],
    momenta: list[Tensor] | None,
    average_grads: list[Tensor] | None,
    learning_rate: Tensor | float,
    rho: float,
    momentum: float,
    epsilon: float,
    options: StepOptions | None,
    configuration: StepConfiguration | None = None,
) -> None:
    """One step; see the contract in `kernels.rmsprop`."""
    lists = (params, grads, velocities, *(each for each in (momenta, average_grads) if each is not None))
    arguments = (params, grads, velocities, momenta, average_grads, learning_rate, rho, momentum, epsilon, options)
    chosen = configuration or configuration_for(TUNABLE, Parameters.of(lists), arguments)
    launch = multi_tensor.prepare(lists, learning_rate, options, chosen)
    if launch is None:
        return
    _rmsprop_kernel[launch.grid](
        **launch.arguments,
        complement=1.0 - rho,
        momentum=float(momentum),
        epsilon=float(epsilon),
        HAS_MOMENTA=momenta is not None,
        CENTERED=average_grads is not None,
    )


def supports(op: str, params: list[Tensor], grads, velocities, momenta, average_grads, *others) -> str | None:
    """None, or why the step cannot be taken by the kernel."""
    lists = (params, grads, velocities, momenta, average_grads)
    return multi_tensor.why_not(*(each for each in lists if each is not None))
