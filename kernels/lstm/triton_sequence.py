"""The LSTM's scan, all steps in one launch, a program for BLOCK_B sequences.

R is loaded before the steps and stays in shared memory; h, c, and backward dh and dc stay in registers. What a step
reads from memory, z, does not depend on the step before: it is fetched a step ahead.

Backward goes through the steps from the last to the first:

    dh_t = dy_t + sum over the gates of (dz_{t+1} R^T) r      r: the recurrent dropout factors, if any

and at a masked step dz = 0 while dh and dc pass unchanged.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.lstm.configurations import SequenceConfiguration
from fastk.kernels.lstm.triton_cell import (
    cell,
    cell_gradient,
    gate_columns,
    join_gates,
    load_four,
    split_gates,
)
from fastk.kernels.recurrence_configurations import padded
from fastk.kernels.recurrence_triton import ALL, SEEN, Scan, first_unmasked, is_shown, load_keep, load_state, step_at
from fastk.kernels.triton_runtime import architecture


@triton.jit(do_not_specialize=["B", "T"])
def lstm_sequence_forward_kernel(
    outputs_ptr,
    h_ptr,
    c_ptr,
    gates_ptr,
    cells_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
    h_0_ptr,
    c_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    H: tl.constexpr,
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
    """gates [B, T, 4 H] holds x W + b, and with cells_ptr takes what backward needs of the gates."""
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_h = tl.arange(0, BLOCK_H)
    mask_b = offs_b < B
    inside = mask_b[:, None] & (offs_h < H)[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_h[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_h[None, :]
    column, unit = gate_columns(0, H, BLOCK_H)
    wide_tile, wide_inside = rows[:, None] * (4 * H) + column[None, :], mask_b[:, None] & (unit < H)[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty

    mask_h = offs_h < H
    square = recurrent_kernel_ptr + offs_h[:, None] * (4 * H) + offs_h[None, :]
    r_i, r_f, r_c, r_o = load_four(square, H, mask_h[:, None] & mask_h[None, :])  # [BLOCK_H, BLOCK_H]
    h = load_state(h_0_ptr, state, inside, dtype)
    c = load_state(c_0_ptr, state, inside, ACCUMULATOR)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if FACTORS == 4:
        m_i, m_f, m_c, m_o = load_four(factors_ptr + state, B * H, inside)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    step = step_at(0, T, REVERSE)
    z = tl.load(gates_ptr + step * (4 * H) + wide_tile, mask=wide_inside, other=0.0)  # [BLOCK_B, 4 BLOCK_H]
    keep = load_keep(mask_ptr, rows, mask_b, step)
    a = h
    if FACTORS == 1:
        a = (h * factor).to(dtype)
    if cells_ptr is not None:
        tl.store(previous_ptr + step * H + tile, a, mask=inside)
    for t in tl.range(0, T, num_stages=1):
        ahead = step_at(t + 1, T, REVERSE)
        there = inside & (t + 1 < T)
        z_ahead = tl.load(gates_ptr + ahead * (4 * H) + wide_tile, mask=wide_inside & (t + 1 < T), other=0.0)
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t + 1 < T), ahead)
        if FACTORS == 4:
            a_i, a_f, a_c, a_o = (h * m_i).to(dtype), (h * m_f).to(dtype), (h * m_c).to(dtype), (h * m_o).to(dtype)
        else:
            a_i, a_f, a_c, a_o = a, a, a, a
        z_i, z_f, z_c, z_o = split_gates(z.to(ACCUMULATOR), BLOCK_B, BLOCK_H)
        z_i = tl.dot(a_i, r_i, z_i, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_f = tl.dot(a_f, r_f, z_f, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_c = tl.dot(a_c, r_c, z_c, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_o = tl.dot(a_o, r_o, z_o, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        new, c_new, i, f, g, o = cell(z_i, z_f, z_c, z_o, c, ACTIVATION, RECURRENT_ACTIVATION, dtype == tl.bfloat16)
        h_new = new.to(dtype)
        if mask_ptr is not None:
            h_new = tl.where(keep[:, None], h_new, h)
            c_new = tl.where(keep[:, None], c_new, c)
        a = h_new
        if FACTORS == 1:
            a = (h_new * factor).to(dtype)
        if cells_ptr is not None:
            kept = join_gates(i.to(dtype), f.to(dtype), g.to(dtype), o.to(dtype), BLOCK_B, BLOCK_H)
            tl.store(gates_ptr + step * (4 * H) + wide_tile, kept, mask=wide_inside)
            tl.store(cells_ptr + step * H + tile, c_new.to(dtype), mask=inside)
            tl.store(previous_ptr + ahead * H + tile, a, mask=there)
        if outputs_ptr is not None:
            shown = h_new
            if SHOWN != ALL:
                shown = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], h_new, 0.0)
            tl.store(outputs_ptr + tl.cast(t, tl.int64) * H + tile, shown.to(dtype), mask=inside)
        h, c = h_new, c_new
        z, keep, step = z_ahead, keep_ahead, ahead
    tl.store(h_ptr + state, h, mask=inside)
    tl.store(c_ptr + state, c.to(dtype), mask=inside)


@triton.jit(do_not_specialize=["B", "T"])
def lstm_sequence_backward_kernel(
    dz_ptr,
    dh_0_ptr,
    dc_0_ptr,
    g_outputs_ptr,
    g_h_ptr,
    g_c_ptr,
    gates_ptr,
    cells_ptr,
    recurrent_kernel_ptr,
    c_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    H: tl.constexpr,
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
    """dz [B, T, 4 H] of every step, and dh and dc of the initial state where their pointers are given."""
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_h = tl.arange(0, BLOCK_H)
    mask_b = offs_b < B
    inside = mask_b[:, None] & (offs_h < H)[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_h[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_h[None, :]
    column, unit = gate_columns(0, H, BLOCK_H)
    wide_tile, wide_inside = rows[:, None] * (4 * H) + column[None, :], mask_b[:, None] & (unit < H)[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty

    mask_h = offs_h < H
    square = recurrent_kernel_ptr + offs_h[None, :] * (4 * H) + offs_h[:, None]  # transposed
    r_i, r_f, r_c, r_o = load_four(square, H, mask_h[:, None] & mask_h[None, :])  # [BLOCK_H, BLOCK_H]
    dh = load_state(g_h_ptr, state, inside, ACCUMULATOR)
    dc = load_state(g_c_ptr, state, inside, ACCUMULATOR)
    c_0 = load_state(c_0_ptr, state, inside, dtype)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if FACTORS == 4:
        m_i, m_f, m_c, m_o = load_four(factors_ptr + state, B * H, inside)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    step = step_at(T - 1, T, REVERSE)
    gates = tl.load(gates_ptr + step * (4 * H) + wide_tile, mask=wide_inside, other=0.0)  # [BLOCK_B, 4 BLOCK_H]
    c = tl.load(cells_ptr + step * H + tile, mask=inside, other=0.0)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    for taken in tl.range(0, T, num_stages=1):
        t = T - 1 - taken
        ahead = step_at(t - 1, T, REVERSE)
        there = inside & (t > 0)
        gates_ahead = tl.load(gates_ptr + ahead * (4 * H) + wide_tile, mask=wide_inside & (t > 0), other=0.0)
        c_old = tl.where(t > 0, tl.load(cells_ptr + ahead * H + tile, mask=there, other=0.0), c_0)
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t > 0), ahead)
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + tl.cast(t, tl.int64) * H + tile, mask=inside, other=0.0).to(ACCUMULATOR)
            if SHOWN != ALL:
                g = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], g, 0.0)
            dh += g
        s_i, s_f, s_c, s_o = split_gates(gates.to(ACCUMULATOR), BLOCK_B, BLOCK_H)
        dz_i, dz_f, dz_c, dz_o, dc_old = cell_gradient(
            dh,
            dc,
            s_i,
            s_f,
            s_c,
            s_o,
            c.to(ACCUMULATOR),
            c_old.to(ACCUMULATOR),
            ACTIVATION,
            RECURRENT_ACTIVATION,
            dtype == tl.bfloat16,
        )
        if mask_ptr is not None:
            dz_i = tl.where(keep[:, None], dz_i, 0.0)
            dz_f = tl.where(keep[:, None], dz_f, 0.0)
            dz_c = tl.where(keep[:, None], dz_c, 0.0)
            dz_o = tl.where(keep[:, None], dz_o, 0.0)
            dc_old = tl.where(keep[:, None], dc_old, dc)
        dz_i, dz_f, dz_c, dz_o = dz_i.to(dtype), dz_f.to(dtype), dz_c.to(dtype), dz_o.to(dtype)
        dz = join_gates(dz_i, dz_f, dz_c, dz_o, BLOCK_B, BLOCK_H)
        tl.store(dz_ptr + step * (4 * H) + wide_tile, dz, mask=wide_inside)
        p = tl.dot(dz_i, r_i, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        if FACTORS == 4:
            p = p * m_i
            p += tl.dot(dz_f, r_f, input_precision=PRECISION, out_dtype=ACCUMULATOR) * m_f
            p += tl.dot(dz_c, r_c, input_precision=PRECISION, out_dtype=ACCUMULATOR) * m_c
            p += tl.dot(dz_o, r_o, input_precision=PRECISION, out_dtype=ACCUMULATOR) * m_o
        else:
            p = tl.dot(dz_f, r_f, p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            p = tl.dot(dz_c, r_c, p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            p = tl.dot(dz_o, r_o, p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            if FACTORS == 1:
                p = p * factor
        if mask_ptr is not None:
            p = tl.where(keep[:, None], p, dh)
        dh, dc, c = p, dc_old, c_old
        gates, keep, step = gates_ahead, keep_ahead, ahead
    if dh_0_ptr is not None:
        tl.store(dh_0_ptr + state, dh.to(dtype), mask=inside)
        tl.store(dc_0_ptr + state, dc.to(dtype), mask=inside)


# ---------------------------------------------------------------- launchers


def sequence_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: SequenceConfiguration,
) -> tuple[Tensor, Tensor]:
    """(h, c) after the last step; fills outputs, gates, cells and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h, c = gates.new_empty(batch, units), gates.new_empty(batch, units)
    lstm_sequence_forward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        outputs,
        h,
        c,
        gates,
        cells,
        previous,
        scan.recurrent_kernel,
        None if h_0 is None else h_0.contiguous(),
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
    )
    return h, c


def sequence_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: SequenceConfiguration,
) -> tuple[Tensor, Tensor]:
    """(dh, dc) of the initial state, of use where `state_needed`; fills dz."""
    batch, steps, units = cells.shape
    dh_0, dc_0 = gates.new_empty(batch, units), gates.new_empty(batch, units)
    lstm_sequence_backward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        dz,
        dh_0 if state_needed else None,
        dc_0 if state_needed else None,
        g_outputs,
        g_h,
        g_c,
        gates,
        cells,
        scan.recurrent_kernel,
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
        maxnreg=_registers(plain=scan.mask is None and scan.factors is None),
    )
    return dh_0, dc_0


def _registers(plain: bool) -> int:
    """For a thread of backward; without a cap ptxas may spill for a second program, for which there is no memory.

    By trial: tf32x3 takes all that it may, and without masks and factors and with Triton 3.9 spills 8 bytes on sm_90
    at 224, 232 and more, none at 200 to 212; 8 to 16 bytes on sm_100 at 224 and less, none at 240.
    """
    return {90: 208, 100: 240}.get(architecture(), 224) if plain else 224
