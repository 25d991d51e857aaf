r"""sgd_ in Triton: every tensor in one launch and one pass (`kernels.triton_multi_tensor`).

    g      = what `kernels.step_options` makes of the gradient
    param -= learning_rate weight_decay param                          where decay applies
    without momenta    param -= learning_rate g
    with them          m      = momentum m - learning_rate g
                       param += m,  or  momentum m - learning_rate g   with nesterov

Arithmetic is float32, rounded once at each store. Least bytes in float32: 12 a parameter, 20 with momenta; clipping by
a norm reads the gradients once more before: 4.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels import triton_multi_tensor as multi_tensor
from fastk.kernels.sgd.configurations import TUNABLE, Parameters, StepConfiguration
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
    m_ptr,
    offs,
    mask,
    factor,
    limit,
    decay,
    rate,
    momentum,
    HAS_MOMENTA: tl.constexpr,
    NESTEROV: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    CLIP: tl.constexpr,
):
    """The step of the elements at `offs`."""
    g = tl.load(g_ptr + offs, mask=mask).to(tl.float32)  # [BLOCK]
    p = tl.load(p_ptr + offs, mask=mask)  # [BLOCK]
    move = -rate * clipped(g, factor, limit, HAS_FACTOR, CLIP)
    if HAS_MOMENTA:
        m = momentum * tl.load(m_ptr + offs, mask=mask).to(tl.float32) + move  # [BLOCK]
        tl.store(m_ptr + offs, m.to(p.dtype), mask=mask)
        if NESTEROV:
            move += momentum * m
        else:
            move = m
    tl.store(p_ptr + offs, (p.to(tl.float32) * decay + move).to(p.dtype), mask=mask)


@triton.jit
def _sgd_kernel(
    table_ptr,
    chunks_ptr,
    partials_ptr,
    scale_ptr,
    found_inf_ptr,
    rate_ptr,
    rate,
    inverse_scale,
    momentum,
    weight_decay,
    limit,
    spans,
    LISTS: tl.constexpr,
    NESTEROV: tl.constexpr,
    HAS_DECAY: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    CLIP: tl.constexpr,
    DTYPE: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    SPANS: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    HAS_MOMENTA: tl.constexpr = LISTS > 2
    row_ptr, first, count = open_chunk(table_ptr, chunks_ptr, found_inf_ptr, LISTS, BLOCK)
    p_ptr = values_at(row_ptr, 0, first, DTYPE, ALIGNMENT)
    g_ptr = values_at(row_ptr, 1, first, DTYPE, ALIGNMENT)
    m_ptr = p_ptr
    if HAS_MOMENTA:
        m_ptr = values_at(row_ptr, 2, first, DTYPE, ALIGNMENT)
    factor = 1.0
    if HAS_FACTOR:
        factor = gradient_factor(
            row_ptr, partials_ptr, scale_ptr, inverse_scale, spans, limit, LISTS, CLIP, SPANS
        )  # fmt: skip
    rate, decay = rate_and_decay(rate_ptr, rate, weight_decay, row_ptr, LISTS, HAS_DECAY)
    whole = whole_vectors(count, DTYPE)
    offs = tl.arange(0, BLOCK)
    _move(
        p_ptr, g_ptr, m_ptr, offs, offs < whole, factor, limit, decay, rate, momentum, HAS_MOMENTA, NESTEROV,
        HAS_FACTOR, CLIP,
    )  # fmt: skip
    if whole < count:
        tail = whole + tl.arange(0, TAIL)
        _move(
            p_ptr, g_ptr, m_ptr, tail, tail < count, factor, limit, decay, rate, momentum, HAS_MOMENTA, NESTEROV,
            HAS_FACTOR, CLIP,
        )  # fmt: skip


def sgd_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor] | None,
    learning_rate: Tensor | float,
    momentum: float,
    nesterov: bool,
    options: StepOptions | None,
    configuration: StepConfiguration | None = None,
) -> None:
    """One step; see the contract in `kernels.sgd`."""
    lists = (params, grads) if momenta is None else (params, grads, momenta)
    arguments = (params, grads, momenta, learning_rate, momentum, nesterov, options)
    chosen = configuration or configuration_for(TUNABLE, Parameters.of(lists), arguments)
    launch = multi_tensor.prepare(lists, learning_rate, options, chosen)
    if launch is None:
        return
    _sgd_kernel[launch.grid](
        **launch.arguments,
        momentum=float(momentum),
        NESTEROV=nesterov,
    )


def supports(op: str, params: list[Tensor], grads: list[Tensor], momenta, *others) -> str | None:
    """None, or why the step cannot be taken by the kernel."""
    return multi_tensor.why_not(params, grads, *(() if momenta is None else (momenta,)))
