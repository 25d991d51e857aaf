"""The GRU's scan, all steps in one launch, a program for BLOCK_B sequences.

R is loaded before the steps and stays in shared memory; h, and backward its gradient, stay in registers. A program
has all units of its sequences, so that without reset_after r h' is the next product's operand as it is. What a step
reads from memory does not depend on the step before: it is fetched a step ahead.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.gru.configurations import SequenceConfiguration
from fastk.kernels.gru.triton_cell import blend, blend_gradient, load_three, reset_gradient, store_three
from fastk.kernels.recurrence_configurations import padded
from fastk.kernels.recurrence_triton import (
    ALL,
    SEEN,
    Scan,
    first_unmasked,
    is_shown,
    load_keep,
    load_state,
    saved,
    squash,
    step_at,
)


@triton.jit(do_not_specialize=["B", "T"])
def gru_sequence_forward_kernel(
    outputs_ptr,
    h_ptr,
    gates_ptr,
    inner_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
    bias_ptr,
    h_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    H: tl.constexpr,
    RESET_AFTER: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RECURRENT_ACTIVATION: tl.constexpr,
    FACTORS: tl.constexpr,
    SHOWN: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """gates [B, T, 3 H] holds x W + b, and with previous_ptr takes what backward needs of the gates."""
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_h = tl.arange(0, BLOCK_H)
    mask_b, mask_h = offs_b < B, offs_h < H
    inside = mask_b[:, None] & mask_h[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_h[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_h[None, :]
    gate_tile = gates_ptr + rows[:, None] * (3 * H) + offs_h[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    FAST: tl.constexpr = dtype == tl.bfloat16

    square = recurrent_kernel_ptr + offs_h[:, None] * (3 * H) + offs_h[None, :]
    r_z, r_r, r_h = load_three(square, H, mask_h[:, None] & mask_h[None, :])  # [BLOCK_H, BLOCK_H]
    bias = tl.zeros([BLOCK_B, BLOCK_H], ACCUMULATOR)
    if bias_ptr is not None:
        bias += tl.load(bias_ptr + offs_h, mask=mask_h, other=0.0).to(ACCUMULATOR)[None, :]
    h = load_state(h_0_ptr, state, inside, dtype)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if FACTORS == 3:
        m_z, m_r, m_h = load_three(factors_ptr + state, B * H, inside)
    shown = tl.zeros([BLOCK_B], tl.int1)  # which rows have had an unmasked step

    step = step_at(0, T, REVERSE)
    x_z, x_r, x_n = load_three(gate_tile + step * (3 * H), H, inside)  # [BLOCK_B, BLOCK_H]
    keep = load_keep(mask_ptr, rows, mask_b, step)
    for t in tl.range(0, T, num_stages=1):
        ahead = step_at(t + 1, T, REVERSE)
        z_ahead, r_ahead, n_ahead = load_three(gate_tile + ahead * (3 * H), H, inside & (t + 1 < T))
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t + 1 < T), ahead)
        if FACTORS == 3:
            a_z, a_r, a_h = (h * m_z).to(dtype), (h * m_r).to(dtype), (h * m_h).to(dtype)
        elif FACTORS == 1:
            a_z = (h * factor).to(dtype)
            a_r, a_h = a_z, a_z
        else:
            a_z, a_r, a_h = h, h, h
        z = tl.dot(a_z, r_z, x_z.to(ACCUMULATOR), input_precision=PRECISION, out_dtype=ACCUMULATOR)
        r = tl.dot(a_r, r_r, x_r.to(ACCUMULATOR), input_precision=PRECISION, out_dtype=ACCUMULATOR)
        update, reset = squash(z, RECURRENT_ACTIVATION, FAST), squash(r, RECURRENT_ACTIVATION, FAST)
        old = h.to(ACCUMULATOR)
        n = x_n.to(ACCUMULATOR)
        if RESET_AFTER:
            inner = tl.dot(a_h, r_h, bias, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            n += reset * inner
        else:
            inner = reset * old
            if mask_ptr is not None:  # NaN in a masked step of x reaches no product
                inner = tl.where(keep[:, None], inner, 0.0)
            q = inner.to(dtype)
            if FACTORS == 3:
                q = (q * m_h).to(dtype)
            if FACTORS == 1:
                q = (q * factor).to(dtype)
            n = tl.dot(q, r_h, n, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        new, s_n = blend(update, n, old, ACTIVATION, FAST)
        if previous_ptr is not None:
            s_z, s_r = saved(z, update, RECURRENT_ACTIVATION), saved(r, reset, RECURRENT_ACTIVATION)
            store_three(gate_tile + step * (3 * H), H, inside, s_z, s_r, s_n)
            tl.store(inner_ptr + step * H + tile, inner.to(dtype), mask=inside)
            tl.store(previous_ptr + step * H + tile, h, mask=inside)
        h_new = new.to(dtype)
        if mask_ptr is not None:
            h_new = tl.where(keep[:, None], h_new, h)
        if outputs_ptr is not None:
            output = h_new
            if SHOWN != ALL:
                shown = keep | shown if SHOWN == SEEN else keep
                output = tl.where(shown[:, None], h_new, 0.0)
            tl.store(outputs_ptr + tl.cast(t, tl.int64) * H + tile, output.to(dtype), mask=inside)
        h = h_new
        x_z, x_r, x_n = z_ahead, r_ahead, n_ahead
        keep, step = keep_ahead, ahead
    tl.store(h_ptr + state, h, mask=inside)


@triton.jit(do_not_specialize=["B", "T"])
def gru_sequence_backward_kernel(
    dz_ptr,
    du_ptr,
    dh_0_ptr,
    g_outputs_ptr,
    g_h_ptr,
    gates_ptr,
    inner_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    H: tl.constexpr,
    RESET_AFTER: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RECURRENT_ACTIVATION: tl.constexpr,
    FACTORS: tl.constexpr,
    SHOWN: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """dz [B, T, 3 H] and with RESET_AFTER du [B, T, H] of every step, and dh of the initial state into a dh_0_ptr."""
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_h = tl.arange(0, BLOCK_H)
    mask_b, mask_h = offs_b < B, offs_h < H
    inside = mask_b[:, None] & mask_h[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_h[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_h[None, :]
    gate_tile = rows[:, None] * (3 * H) + offs_h[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty

    square = recurrent_kernel_ptr + offs_h[None, :] * (3 * H) + offs_h[:, None]  # transposed
    r_z, r_r, r_h = load_three(square, H, mask_h[:, None] & mask_h[None, :])  # [BLOCK_H, BLOCK_H]
    dh = load_state(g_h_ptr, state, inside, ACCUMULATOR)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if FACTORS == 3:
        m_z, m_r, m_h = load_three(factors_ptr + state, B * H, inside)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    step = step_at(T - 1, T, REVERSE)
    s_z, s_r, s_n = load_three(gates_ptr + step * (3 * H) + gate_tile, H, inside)  # [BLOCK_B, BLOCK_H]
    h = tl.load(previous_ptr + step * H + tile, mask=inside, other=0.0)
    inner = h
    if RESET_AFTER:
        inner = tl.load(inner_ptr + step * H + tile, mask=inside, other=0.0)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    for taken in tl.range(0, T, num_stages=1):
        t = T - 1 - taken
        ahead = step_at(t - 1, T, REVERSE)
        there = inside & (t > 0)
        z_ahead, r_ahead, n_ahead = load_three(gates_ptr + ahead * (3 * H) + gate_tile, H, there)
        h_ahead = tl.load(previous_ptr + ahead * H + tile, mask=there, other=0.0)
        inner_ahead = h_ahead
        if RESET_AFTER:
            inner_ahead = tl.load(inner_ptr + ahead * H + tile, mask=there, other=0.0)
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t > 0), ahead)
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + tl.cast(t, tl.int64) * H + tile, mask=inside, other=0.0)
            if SHOWN != ALL:
                g = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], g, 0.0)
            dh += g
        dz, dn, passing = blend_gradient(
            dh, s_z.to(ACCUMULATOR), s_n.to(ACCUMULATOR), h.to(ACCUMULATOR), ACTIVATION, RECURRENT_ACTIVATION
        )
        if mask_ptr is not None:
            dz, dn = tl.where(keep[:, None], dz, 0.0), tl.where(keep[:, None], dn, 0.0)
            passing = tl.where(keep[:, None], passing, dh)
        if RESET_AFTER:
            dr, du = reset_gradient(dn, inner.to(ACCUMULATOR), s_r.to(ACCUMULATOR), RECURRENT_ACTIVATION)
            if mask_ptr is not None:
                dr, du = tl.where(keep[:, None], dr, 0.0), tl.where(keep[:, None], du, 0.0)
            operand = du.to(dtype)
            tl.store(du_ptr + step * H + tile, operand, mask=inside)
        else:
            operand = dn.to(dtype)
        p = tl.dot(operand, r_h, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        if FACTORS == 3:
            p = p * m_h
        if not RESET_AFTER:
            if FACTORS == 1:
                p = p * factor
            dr, p = reset_gradient(p, h.to(ACCUMULATOR), s_r.to(ACCUMULATOR), RECURRENT_ACTIVATION)
            if mask_ptr is not None:
                dr, p = tl.where(keep[:, None], dr, 0.0), tl.where(keep[:, None], p, 0.0)
            passing += p
            p = tl.zeros_like(dr)
        store_three(dz_ptr + step * (3 * H) + gate_tile, H, inside, dz, dr, dn)
        if FACTORS == 3:
            p += tl.dot(dz.to(dtype), r_z, input_precision=PRECISION, out_dtype=ACCUMULATOR) * m_z
            p += tl.dot(dr.to(dtype), r_r, input_precision=PRECISION, out_dtype=ACCUMULATOR) * m_r
        else:
            p = tl.dot(dz.to(dtype), r_z, p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            p = tl.dot(dr.to(dtype), r_r, p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            if FACTORS == 1:
                p = p * factor
        dh = passing + p
        s_z, s_r, s_n, h, inner = z_ahead, r_ahead, n_ahead, h_ahead, inner_ahead
        keep, step = keep_ahead, ahead
    if dh_0_ptr is not None:
        tl.store(dh_0_ptr + state, dh.to(dtype), mask=inside)


# ---------------------------------------------------------------- launchers


def sequence_forward(
    scan: Scan,
    reset_after: bool,
    outputs: Tensor | None,
    gates: Tensor,
    inner: Tensor | None,
    previous: Tensor | None,
    bias: Tensor | None,
    h_0: Tensor | None,
    chosen: SequenceConfiguration,
) -> Tensor:
    """h after the last step; fills outputs, gates, inner and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h = gates.new_empty(batch, units)
    gru_sequence_forward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        outputs,
        h,
        gates,
        inner,
        previous,
        scan.recurrent_kernel,
        bias,
        None if h_0 is None else h_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        RESET_AFTER=reset_after,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
    )
    return h


def sequence_backward(
    scan: Scan,
    reset_after: bool,
    dz: Tensor,
    du: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    gates: Tensor,
    inner: Tensor,
    previous: Tensor,
    state_needed: bool,
    chosen: SequenceConfiguration,
) -> Tensor:
    """dh of the initial state, of use where `state_needed`; fills dz, and du with reset_after."""
    batch, steps, units = previous.shape
    dh_0 = gates.new_empty(batch, units)
    gru_sequence_backward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        dz,
        du,
        dh_0 if state_needed else None,
        g_outputs,
        g_h,
        gates,
        inner,
        previous,
        scan.recurrent_kernel,
        scan.mask,
        scan.factors,
        batch,
        steps,
        RESET_AFTER=reset_after,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
    )
    return dh_0
