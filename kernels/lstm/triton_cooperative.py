"""The LSTM's scan, all steps in one launch of programs that all run at once and wait for each other.

A program has BLOCK_B sequences and BLOCK_N units, and keeps the slices of R for these units' four gates (the columns;
backward the rows) in shared memory across the steps. Before a step it needs the whole h of its sequences (backward the
whole dz), which the programs with the same sequences have written to `previous` (to dz): they meet at a barrier, a
counter of each BLOCK_B sequences. What does not depend on h is loaded before the barrier; what nobody waits for is
stored after it.

Reads of h pass by L1 (.cg): another multiprocessor wrote it. All programs must fit on the device at once, which a
cooperative launch checks.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.lstm.configurations import CooperativeConfiguration
from fastk.kernels.lstm.triton_cell import (
    cell,
    cell_gradient,
    gate_columns,
    load_four,
    split_gates,
    store_four,
)
from fastk.kernels.recurrence_configurations import padded
from fastk.kernels.recurrence_triton import (
    ALL,
    SEEN,
    Scan,
    add_parts,
    arrive,
    first_unmasked,
    is_shown,
    load_keep,
    load_parts,
    load_state,
    slot_of,
    step_at,
    wait,
)


@triton.jit(do_not_specialize=["B", "T", "slots"])
def lstm_cooperative_forward_kernel(
    outputs_ptr,
    h_ptr,
    c_ptr,
    gates_ptr,
    cells_ptr,
    previous_ptr,
    counter_ptr,
    recurrent_kernel_ptr,
    h_0_ptr,
    c_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
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
    CHUNK: tl.constexpr,
    PARTS: tl.constexpr,
):
    """previous [B, slots, H]: T slots in the order of x, or two used in turns; BLOCK_K >= H; counter: zeros."""
    programs = tl.num_programs(1)
    counter_ptr += tl.program_id(0)
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    tile, gate_tile = rows[:, None] * H + offs_n[None, :], rows[:, None] * (4 * H) + offs_n[None, :]
    exchange = previous_ptr + offs_b.to(tl.int64)[:, None] * (slots * H)
    dtype: tl.constexpr = gates_ptr.dtype.element_ty

    share: tl.constexpr = BLOCK_K * 4 // PARTS
    if FACTORS == 4:
        gate, offs_p = parts_of_gates(BLOCK_K, CHUNK, PARTS)
        state_p = offs_b.to(tl.int64)[None, :, None] * H + offs_p[:, None, :]
        factors = factors_ptr + gate[:, :, None] * (tl.cast(B, tl.int64) * H) + state_p
        columns = recurrent_kernel_ptr + offs_p[:, :, None] * (4 * H) + gate[:, :, None] * H + offs_n[None, None, :]
        slices = load_parts(columns, 4 * H, offs_p, mask_n, H, share, CHUNK)
    else:
        column, unit = gate_columns(tl.program_id(1) * BLOCK_N, H, BLOCK_N)
        wide: tl.constexpr = PARTS * CHUNK if PARTS * CHUNK < BLOCK_K else BLOCK_K
        offs_k = tl.arange(0, wide)
        slices = ()
        for k in tl.static_range(0, BLOCK_K, wide):
            columns = recurrent_kernel_ptr + (offs_k + k)[:, None] * (4 * H) + column[None, :]
            inside_r = (offs_k + k < H)[:, None] & (unit < H)[None, :]
            slices += (tl.load(columns, mask=inside_r, other=0.0),)  # [wide, 4 BLOCK_N]
    h = load_state(h_0_ptr, state, inside, dtype)
    c = load_state(c_0_ptr, state, inside, ACCUMULATOR)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    slot = slot_of(0, T, slots, REVERSE)
    after = h
    if FACTORS == 1:
        after = (h * factor).to(dtype)
    tl.store(exchange + slot * H + offs_n[None, :], after, mask=inside)
    arrive(counter_ptr)
    for t in tl.range(0, T, num_stages=1):
        step = step_at(t, T, REVERSE)
        z_i, z_f, z_c, z_o = load_four(gates_ptr + step * (4 * H) + gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
        keep = load_keep(mask_ptr, rows, mask_b, step)
        wait(counter_ptr, (t + 1) * programs)
        if FACTORS == 4:
            p = tl.zeros([PARTS, BLOCK_B, BLOCK_N], ACCUMULATOR)
            arrived = exchange[None, :, :] + slot * H + offs_p[:, None, :]
            (p,) = add_parts((p,), arrived, factors, (slices,), offs_p, mask_b, H, PRECISION, share, CHUNK)
            p = sums_of_parts(p, BLOCK_B, BLOCK_N, PARTS)
        else:
            p = tl.zeros([BLOCK_B, 4 * BLOCK_N], ACCUMULATOR)
            for chunk in tl.static_range(BLOCK_K // wide):
                inside_k = mask_b[:, None] & (offs_k + chunk * wide < H)[None, :]
                arrived = exchange + slot * H + (offs_k + chunk * wide)[None, :]
                a = tl.load(arrived, mask=inside_k, other=0.0, cache_modifier=".cg")  # [BLOCK_B, wide]
                p = tl.dot(a, slices[chunk], p, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        p_i, p_f, p_c, p_o = split_gates(p, BLOCK_B, BLOCK_N)
        z_i, z_f, z_c, z_o = z_i + p_i, z_f + p_f, z_c + p_c, z_o + p_o
        new, c_new, i, f, g, o = cell(z_i, z_f, z_c, z_o, c, ACTIVATION, RECURRENT_ACTIVATION, dtype == tl.bfloat16)
        h_new = new.to(dtype)
        if mask_ptr is not None:
            h_new = tl.where(keep[:, None], h_new, h)
            c_new = tl.where(keep[:, None], c_new, c)
        h, c, after = h_new, c_new, h_new
        if FACTORS == 1:
            after = (h * factor).to(dtype)
        slot = slot_of(t + 1, T, slots, REVERSE)
        tl.store(exchange + slot * H + offs_n[None, :], after, mask=inside & (t + 1 < T))
        arrive(counter_ptr)
        if cells_ptr is not None:
            store_four(gates_ptr + step * (4 * H) + gate_tile, H, inside, i, f, g, o)
            tl.store(cells_ptr + step * H + tile, c.to(dtype), mask=inside)
        if outputs_ptr is not None:
            shown = h
            if SHOWN != ALL:
                shown = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], h, 0.0)
            tl.store(outputs_ptr + tl.cast(t, tl.int64) * H + tile, shown.to(dtype), mask=inside)
    tl.store(h_ptr + state, h, mask=inside)
    tl.store(c_ptr + state, c.to(dtype), mask=inside)


@triton.jit
def parts_of_gates(BLOCK_K: tl.constexpr, CHUNK: tl.constexpr, PARTS: tl.constexpr):
    """The sum over 4 gates of BLOCK_K units in PARTS, one for each warp: (gate, first CHUNK units) of each part."""
    part = tl.arange(0, PARTS)
    share: tl.constexpr = PARTS // 4
    return (part // share)[:, None], (part % share * (BLOCK_K // share))[:, None] + tl.arange(0, CHUNK)[None, :]


@triton.jit
def sums_of_parts(p, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr):
    """p [PARTS, BLOCK_B, BLOCK_N] summed up gate by gate, the gates side by side."""
    p = tl.sum(p.reshape(4, PARTS // 4, BLOCK_B, BLOCK_N), axis=1)
    return p.permute(1, 0, 2).reshape(BLOCK_B, 4 * BLOCK_N)


@triton.jit(do_not_specialize=["B", "T"])
def lstm_cooperative_backward_kernel(
    dz_ptr,
    dh_0_ptr,
    dc_0_ptr,
    counter_ptr,
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
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    CHUNK: tl.constexpr,
    PARTS: tl.constexpr,
):
    """dz [B, T, 4 H] of every step, and dh and dc of the initial state where their pointers are given."""
    programs = tl.num_programs(1)
    counter_ptr += tl.program_id(0)
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    gate, offs_k = parts_of_gates(BLOCK_K, CHUNK, PARTS)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    tile, gate_tile = rows[:, None] * H + offs_n[None, :], rows[:, None] * (4 * H) + offs_n[None, :]
    exchange = dz_ptr + rows[None, :, None] * (4 * H) + (gate * H + offs_k)[:, None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty

    share: tl.constexpr = BLOCK_K * 4 // PARTS
    r_rows = recurrent_kernel_ptr + (gate * H + offs_k)[:, :, None] + offs_n[None, None, :] * (4 * H)  # transposed
    slices = load_parts(r_rows, 1, offs_k, mask_n, H, share, CHUNK)
    dh = load_state(g_h_ptr, state, inside, ACCUMULATOR)
    dc = load_state(g_c_ptr, state, inside, ACCUMULATOR)
    c_0 = load_state(c_0_ptr, state, inside, dtype)
    if FACTORS == 1:
        factor = tl.load(factors_ptr + state, mask=inside, other=0.0)
    if FACTORS == 4:
        m_i, m_f, m_c, m_o = load_four(factors_ptr + state, tl.cast(B, tl.int64) * H, inside)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    step = step_at(T - 1, T, REVERSE)
    s_i, s_f, s_c, s_o = load_four(gates_ptr + step * (4 * H) + gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
    c = tl.load(cells_ptr + step * H + tile, mask=inside, other=0.0)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    for taken in tl.range(0, T, num_stages=1):
        t = T - 1 - taken
        ahead = step_at(t - 1, T, REVERSE)
        there = inside & (t > 0)
        c_old = tl.where(t > 0, tl.load(cells_ptr + ahead * H + tile, mask=there, other=0.0), c_0)
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + tl.cast(t, tl.int64) * H + tile, mask=inside, other=0.0).to(ACCUMULATOR)
            if SHOWN != ALL:
                g = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], g, 0.0)
            dh += g
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
        if mask_ptr is not None:
            dz_i = tl.where(keep[:, None], dz_i, 0.0)
            dz_f = tl.where(keep[:, None], dz_f, 0.0)
            dz_c = tl.where(keep[:, None], dz_c, 0.0)
            dz_o = tl.where(keep[:, None], dz_o, 0.0)
            dc_old = tl.where(keep[:, None], dc_old, dc)
        store_four(dz_ptr + step * (4 * H) + gate_tile, H, inside, dz_i, dz_f, dz_c, dz_o)
        arrive(counter_ptr)
        s_i, s_f, s_c, s_o = load_four(gates_ptr + ahead * (4 * H) + gate_tile, H, there)
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t > 0), ahead)
        wait(counter_ptr, (taken + 1) * programs)
        p = tl.zeros([PARTS, BLOCK_B, BLOCK_N], ACCUMULATOR)
        arrived = exchange + step * (4 * H)
        (p,) = add_parts((p,), arrived, None, (slices,), offs_k, mask_b, H, PRECISION, share, CHUNK)
        p_i, p_f, p_c, p_o = split_gates(sums_of_parts(p, BLOCK_B, BLOCK_N, PARTS), BLOCK_B, BLOCK_N)
        if FACTORS == 4:
            p = p_i * m_i + p_f * m_f + p_c * m_c + p_o * m_o
        else:
            p = p_i + p_f + p_c + p_o
            if FACTORS == 1:
                p = p * factor
        if mask_ptr is not None:
            p = tl.where(keep[:, None], p, dh)
        dh, dc, c, keep, step = p, dc_old, c_old, keep_ahead, ahead
    if dh_0_ptr is not None:
        tl.store(dh_0_ptr + state, dh.to(dtype), mask=inside)
        tl.store(dc_0_ptr + state, dc.to(dtype), mask=inside)


# ---------------------------------------------------------------- launchers


def cooperative_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: CooperativeConfiguration,
) -> tuple[Tensor, Tensor]:
    """(h, c) after the last step; fills outputs, gates, cells and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h, c = gates.new_empty(batch, units), gates.new_empty(batch, units)
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    lstm_cooperative_forward_kernel[grid](
        outputs,
        h,
        c,
        gates,
        cells,
        exchange,
        gates.new_zeros(grid[0], dtype=torch.int32),
        scan.recurrent_kernel,
        None if h_0 is None else h_0.contiguous(),
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        exchange.size(1),
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_N=chosen.block_n,
        BLOCK_K=padded(units),
        CHUNK=chosen.chunk,
        PARTS=chosen.num_warps,
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
        launch_cooperative_grid=True,
    )
    return h, c


def cooperative_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: CooperativeConfiguration,
) -> tuple[Tensor, Tensor]:
    """(dh, dc) of the initial state, of use where `state_needed`; fills dz."""
    batch, steps, units = cells.shape
    dh_0, dc_0 = gates.new_empty(batch, units), gates.new_empty(batch, units)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    lstm_cooperative_backward_kernel[grid](
        dz,
        dh_0 if state_needed else None,
        dc_0 if state_needed else None,
        gates.new_zeros(grid[0], dtype=torch.int32),
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
        BLOCK_N=chosen.block_n,
        BLOCK_K=padded(units),
        CHUNK=chosen.chunk,
        PARTS=chosen.num_warps,
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
        launch_cooperative_grid=True,
    )
    return dh_0, dc_0
