"""The LSTM's scan, a launch for each step: the product with R and the cell in one kernel, for any number of units.

A program has BLOCK_B sequences and BLOCK_N units with their four gates. What it carries from step to step, h and c in
ACCUMULATOR precision (backward the dh and dc that pass a step), it reads and writes itself, in place. h goes from
program to program through `previous`, dz through dz.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.lstm.configurations import StepConfiguration
from fastk.kernels.lstm.triton_cell import cell, cell_gradient, load_four, store_four
from fastk.kernels.recurrence_triton import (
    ALL,
    SEEN,
    Scan,
    first_unmasked,
    is_shown,
    load_keep,
    load_state,
    step_at,
    sum_of_rows,
)


@triton.jit(do_not_specialize=["B", "T", "t", "slot", "next_slot", "slots"])
def lstm_step_forward_kernel(
    outputs_ptr,
    h_ptr,
    c_ptr,
    gates_ptr,
    cells_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    t,
    slot,
    next_slot,
    slots,
    H: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RECURRENT_ACTIVATION: tl.constexpr,
    FACTORS: tl.constexpr,
    SHOWN: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Step t. previous [B, slots, H] has h before the step at `slot`, and takes h after it at `next_slot`.

    h [B, H] and c [B, H], in ACCUMULATOR, are the states before the step and become those after it.
    """
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    step = step_at(t, T, REVERSE)
    gate_tile = gates_ptr + (rows + step)[:, None] * (4 * H) + offs_n[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    z_i, z_f, z_c, z_o = load_four(gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
    z_i, z_f, z_c, z_o = z_i.to(ACCUMULATOR), z_f.to(ACCUMULATOR), z_c.to(ACCUMULATOR), z_o.to(ACCUMULATOR)
    exchange = previous_ptr + offs_b.to(tl.int64)[:, None] * (slots * H)
    for k in range(0, H, BLOCK_K):
        mask_k = k + offs_k < H
        inside_k = mask_b[:, None] & mask_k[None, :]
        a = tl.load(exchange + slot * H + (k + offs_k)[None, :], mask=inside_k, other=0.0)  # [BLOCK_B, BLOCK_K]
        r_tile = recurrent_kernel_ptr + (k + offs_k)[:, None] * (4 * H) + offs_n[None, :]
        r_i, r_f, r_c, r_o = load_four(r_tile, H, mask_k[:, None] & mask_n[None, :])  # [BLOCK_K, BLOCK_N]
        if FACTORS == 4:
            m_tile = factors_ptr + offs_b.to(tl.int64)[:, None] * H + (k + offs_k)[None, :]
            m_i, m_f, m_c, m_o = load_four(m_tile, tl.cast(B, tl.int64) * H, inside_k)  # [BLOCK_B, BLOCK_K]
            a_i, a_f, a_c, a_o = (a * m_i).to(dtype), (a * m_f).to(dtype), (a * m_c).to(dtype), (a * m_o).to(dtype)
        else:
            a_i, a_f, a_c, a_o = a, a, a, a
        z_i = tl.dot(a_i, r_i, z_i, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_f = tl.dot(a_f, r_f, z_f, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_c = tl.dot(a_c, r_c, z_c, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        z_o = tl.dot(a_o, r_o, z_o, input_precision=PRECISION, out_dtype=ACCUMULATOR)
    c = tl.load(c_ptr + state, mask=inside, other=0.0)
    new, c_new, i, f, g, o = cell(z_i, z_f, z_c, z_o, c, ACTIVATION, RECURRENT_ACTIVATION, dtype == tl.bfloat16)
    h = new.to(dtype)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    if mask_ptr is not None:
        h = tl.where(keep[:, None], h, tl.load(h_ptr + state, mask=inside, other=0.0))
        c_new = tl.where(keep[:, None], c_new, c)
    tl.store(h_ptr + state, h, mask=inside)
    tl.store(c_ptr + state, c_new, mask=inside)
    after = h
    if FACTORS == 1:
        after = (h * tl.load(factors_ptr + state, mask=inside, other=0.0)).to(dtype)
    tl.store(exchange + next_slot * H + offs_n[None, :], after, mask=inside & (t + 1 < T))
    tile = (rows + step)[:, None] * H + offs_n[None, :]
    if cells_ptr is not None:
        store_four(gate_tile, H, inside, i, f, g, o)
        tl.store(cells_ptr + tile, c_new.to(dtype), mask=inside)
    if outputs_ptr is not None:
        if SHOWN != ALL:
            first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B) if SHOWN == SEEN else 0
            h = tl.where(is_shown(keep, first, t, SHOWN)[:, None], h, 0.0).to(dtype)
        tl.store(outputs_ptr + (rows + t)[:, None] * H + offs_n[None, :], h, mask=inside)


@triton.jit(do_not_specialize=["B", "T", "t"])
def lstm_step_backward_kernel(
    dz_ptr,
    dh_ptr,
    dc_ptr,
    g_outputs_ptr,
    gates_ptr,
    cells_ptr,
    recurrent_kernel_ptr,
    c_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    t,
    H: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RECURRENT_ACTIVATION: tl.constexpr,
    FACTORS: tl.constexpr,
    SHOWN: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Step t, or with t = -1 what reaches the initial h.

    dh [B, H] is what passes the step after this one, beside what comes through its dz: at first the gradient of the
    last h. dc [B, H] is all that comes from the step after. Both become what step t passes on, in ACCUMULATOR.
    """
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    dh = tl.load(dh_ptr + state, mask=inside, other=0.0)
    if t + 1 < T:
        after = dz_ptr + (rows + step_at(t + 1, T, REVERSE))[:, None] * (4 * H)
        dh += product(
            after,
            recurrent_kernel_ptr + offs_n[None, :] * (4 * H),
            factors_ptr,
            state,
            mask_b[:, None],
            mask_n[None, :],
            B,
            H,
            FACTORS,
            PRECISION,
            ACCUMULATOR,
            BLOCK_B,
            BLOCK_N,
            BLOCK_K,
        )
    if t < 0:
        tl.store(dh_ptr + state, dh, mask=inside)
    else:
        step = step_at(t, T, REVERSE)
        tile = (rows + step)[:, None] * H + offs_n[None, :]
        gate_tile = (rows + step)[:, None] * (4 * H) + offs_n[None, :]
        keep = load_keep(mask_ptr, rows, mask_b, step)
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + (rows + t)[:, None] * H + offs_n[None, :], mask=inside, other=0.0)
            if SHOWN != ALL:
                first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B) if SHOWN == SEEN else 0
                g = tl.where(is_shown(keep, first, t, SHOWN)[:, None], g, 0.0)
            dh += g
        s_i, s_f, s_c, s_o = load_four(gates_ptr + gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
        c = tl.load(cells_ptr + tile, mask=inside, other=0.0)
        back = (rows + step_at(t - 1, T, REVERSE))[:, None] * H + offs_n[None, :]
        c_old = tl.load(cells_ptr + back, mask=inside & (t > 0), other=0.0)
        if c_0_ptr is not None:
            c_old = tl.where(t > 0, c_old, load_state(c_0_ptr, state, inside & (t == 0), dtype))
        dc = tl.load(dc_ptr + state, mask=inside, other=0.0)
        dz_i, dz_f, dz_c, dz_o, dc_old = cell_gradient(
            dh,
            dc,
            s_i.to(ACCUMULATOR),
            s_f.to(ACCUMULATOR),
            s_c.to(ACCUMULATOR),
            s_o.to(ACCUMULATOR),
            c.to(ACCUMULATOR),
            c_old.to(ACCUMULATOR),
            ACTIVATION,
            RECURRENT_ACTIVATION,
            dtype == tl.bfloat16,
        )
        passing = tl.zeros_like(dh)
        if mask_ptr is not None:
            dz_i = tl.where(keep[:, None], dz_i, 0.0)
            dz_f = tl.where(keep[:, None], dz_f, 0.0)
            dz_c = tl.where(keep[:, None], dz_c, 0.0)
            dz_o = tl.where(keep[:, None], dz_o, 0.0)
            dc_old = tl.where(keep[:, None], dc_old, dc)
            passing = tl.where(keep[:, None], 0.0, dh)
        store_four(dz_ptr + gate_tile, H, inside, dz_i, dz_f, dz_c, dz_o)
        tl.store(dh_ptr + state, passing, mask=inside)
        tl.store(dc_ptr + state, dc_old, mask=inside)


@triton.jit
def product(
    dz,
    r,
    factors_ptr,
    state,
    mask_b,
    mask_n,
    B,
    H: tl.constexpr,
    FACTORS: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """dz R^T times the dropout factors: rows of dz [.., 4 H] by rows of R [H, 4 H], both contiguous along the sum."""
    total = tl.zeros([BLOCK_B, BLOCK_N], ACCUMULATOR)
    parts: tl.constexpr = 4 if FACTORS == 4 else 1
    size: tl.constexpr = 4 * H // parts
    for part in tl.static_range(parts):
        sums = tl.zeros([BLOCK_B, BLOCK_N], ACCUMULATOR)
        sums = sum_of_rows(dz + part * size, r + part * size, sums, mask_b, mask_n, size, PRECISION, BLOCK_K)
        if FACTORS:
            inside = mask_b & mask_n
            sums *= tl.load(factors_ptr + part * (tl.cast(B, tl.int64) * H) + state, mask=inside, other=0.0)
        total += sums
    return total


# ---------------------------------------------------------------- launchers


def step_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: StepConfiguration,
) -> tuple[Tensor, Tensor]:
    """(h, c) after the last step; fills outputs, gates, cells and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    h = gates.new_zeros(batch, units) if h_0 is None else h_0.contiguous().clone()
    c = gates.new_zeros(batch, units, dtype=wide) if c_0 is None else c_0.to(wide, copy=True).contiguous()
    slots = [(steps - 1 - t if scan.reverse else t) if cells is not None else t % 2 for t in range(steps)]
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    shared = h if scan.factors is None or scan.factors.dim() == 3 else h * scan.factors
    exchange[:, slots[0]] = shared
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    for t in range(steps):
        lstm_step_forward_kernel[grid](
            outputs,
            h,
            c,
            gates,
            cells,
            exchange,
            scan.recurrent_kernel,
            scan.mask,
            scan.factors,
            batch,
            steps,
            t,
            slots[t],
            slots[min(t + 1, steps - 1)],
            exchange.size(1),
            **scan.flags(gates.dtype),
            BLOCK_B=chosen.block_b,
            BLOCK_N=chosen.block_n,
            BLOCK_K=chosen.block_k,
            num_warps=chosen.num_warps,
            enable_fp_fusion=True,
            num_stages=chosen.num_stages,
        )
    return h, c.to(gates.dtype)


def step_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: StepConfiguration,
) -> tuple[Tensor, Tensor]:
    """(dh, dc) of the initial state, of use where `state_needed`; fills dz."""
    batch, steps, units = cells.shape
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    zeros = gates.new_zeros(batch, units, dtype=wide)
    dh = zeros if g_h is None else g_h.to(wide, copy=True)
    dc = zeros.clone() if g_c is None else g_c.to(wide, copy=True)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    for t in range(steps - 1, -2 if state_needed else -1, -1):
        lstm_step_backward_kernel[grid](
            dz,
            dh,
            dc,
            g_outputs,
            gates,
            cells,
            scan.recurrent_kernel,
            None if c_0 is None else c_0.contiguous(),
            scan.mask,
            scan.factors,
            batch,
            steps,
            t,
            **scan.flags(gates.dtype),
            BLOCK_B=chosen.block_b,
            BLOCK_N=chosen.block_n,
            BLOCK_K=chosen.block_k,
            num_warps=chosen.num_warps,
            enable_fp_fusion=True,
            num_stages=chosen.num_stages,
        )
    return dh.to(gates.dtype), dc.to(gates.dtype)
