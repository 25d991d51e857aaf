"""The GRU's scan, all steps in one launch of programs that all run at once and wait for each other.

A program has BLOCK_B sequences and BLOCK_N units, and keeps the slices of R for these units' three gates (the columns;
backward the rows) in shared memory across the steps. What a product needs of all units of its sequences the programs
with the same sequences have written to `previous` (h), `inner` (q), dz and du: they meet at a barrier, a counter of
each BLOCK_B sequences. What does not depend on it is loaded before the barrier; what nobody waits for is stored after.

With RESET_AFTER a step has one barrier: forward for h, backward for dz, dr and du. Without it has two: forward for h,
which z and r want, and for q = r h'; backward for dn and for dr, the product of dz lying between them.

A product is split into one part for each warp, all gates together: h is read once for the three of them.
Reads of what was exchanged pass by L1 (.cg): another multiprocessor wrote it. All programs must fit on the device at
once, which a cooperative launch checks.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.gru.configurations import CooperativeConfiguration
from fastk.kernels.gru.triton_cell import (
    blend,
    blend_gradient,
    load_three,
    reset_gradient,
    store_three,
)
from fastk.kernels.recurrence_configurations import padded
from fastk.kernels.recurrence_triton import (
    ALL,
    SEEN,
    Scan,
    add_parts,
    arrive,
    first_unmasked,
    gate_factors,
    is_shown,
    load_keep,
    load_parts,
    load_state,
    precision,
    saved,
    slot_of,
    squash,
    step_at,
    wait,
)


@triton.jit(do_not_specialize=["B", "T", "slots"])
def gru_cooperative_forward_kernel(
    outputs_ptr,
    h_ptr,
    gates_ptr,
    inner_ptr,
    previous_ptr,
    counter_ptr,
    recurrent_kernel_ptr,
    bias_ptr,
    h_0_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    slots,
    H: tl.constexpr,
    INNER: tl.constexpr,
    SAVE: tl.constexpr,
    RESET_AFTER: tl.constexpr,
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
    """previous [B, slots, H]: T slots in the order of x, or two used in turns; BLOCK_K >= H; counter: zeros.

    A step of `inner` is INNER elements wide: without SAVE it is the r of `gates`.
    """
    programs = tl.num_programs(1)
    counter_ptr += tl.program_id(0)
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    share: tl.constexpr = BLOCK_K // PARTS
    offs_k = first_of_parts(share, CHUNK, PARTS)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_n[None, :]
    gate_tile = gates_ptr + rows[:, None] * (3 * H) + offs_n[None, :]
    inner_rows = inner_ptr + rows[:, None] * INNER
    exchange = previous_ptr + offs_b.to(tl.int64)[:, None] * (slots * H)
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    FAST: tl.constexpr = dtype == tl.bfloat16
    BARRIERS: tl.constexpr = 1 if RESET_AFTER else 2

    columns = recurrent_kernel_ptr + offs_k[:, :, None] * (3 * H) + offs_n[None, None, :]
    r_z = load_parts(columns, 3 * H, offs_k, mask_n, H, share, CHUNK)
    r_r = load_parts(columns + H, 3 * H, offs_k, mask_n, H, share, CHUNK)
    r_h = load_parts(columns + 2 * H, 3 * H, offs_k, mask_n, H, share, CHUNK)
    h = load_state(h_0_ptr, state, inside, dtype)
    bias = tl.zeros([BLOCK_N], ACCUMULATOR)
    if bias_ptr is not None:
        bias += tl.load(bias_ptr + offs_n, mask=mask_n, other=0.0)
    bias = bias[None, :]
    if FACTORS:
        factors = factors_ptr + offs_b.to(tl.int64)[None, :, None] * H + offs_k[:, None, :]
        each = tl.cast(B, tl.int64) * H if FACTORS == 3 else 0
        m_z, m_r, m_h = factors, factors + each, factors + 2 * each
    else:
        m_z, m_r, m_h = None, None, None
    shown = tl.zeros([BLOCK_B], tl.int1)  # which rows have had an unmasked step

    slot = slot_of(0, T, slots, REVERSE)
    tl.store(exchange + slot * H + offs_n[None, :], h, mask=inside)
    arrive(counter_ptr)
    for t in tl.range(0, T, num_stages=1):
        step = step_at(t, T, REVERSE)
        x_z, x_r, x_n = load_three(gate_tile + step * (3 * H), H, inside)  # [BLOCK_B, BLOCK_N]
        keep = load_keep(mask_ptr, rows, mask_b, step)
        p = tl.zeros([PARTS, BLOCK_B, BLOCK_N], ACCUMULATOR)
        wait(counter_ptr, (BARRIERS * t + 1) * programs)
        arrived = exchange[None, :, :] + slot * H + offs_k[:, None, :]
        if FACTORS == 3:
            (p_z,) = add_parts((p,), arrived, m_z, (r_z,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            z = x_z + sum_of_parts(p_z)
            (p_r,) = add_parts((p,), arrived, m_r, (r_r,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            r = x_r + sum_of_parts(p_r)
            if RESET_AFTER:
                (p_h,) = add_parts((p,), arrived, m_h, (r_h,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                inner = bias + sum_of_parts(p_h)
        else:
            sides = (r_z, r_r, r_h) if RESET_AFTER else (r_z, r_r)
            sums = add_parts((p,) * len(sides), arrived, m_z, sides, offs_k, mask_b, H, PRECISION, share, CHUNK)
            z, r = x_z + sum_of_parts(sums[0]), x_r + sum_of_parts(sums[1])
            if RESET_AFTER:
                inner = bias + sum_of_parts(sums[2])
        update, reset = squash(z, RECURRENT_ACTIVATION, FAST), squash(r, RECURRENT_ACTIVATION, FAST)
        old = h.to(ACCUMULATOR)
        if RESET_AFTER:
            n = x_n + reset * inner
        else:
            inner = reset * old
            if mask_ptr is not None:  # NaN in a masked step of x reaches no product
                inner = tl.where(keep[:, None], inner, 0.0)
            tl.store(inner_rows + step * INNER + offs_n[None, :], inner.to(dtype), mask=inside)
            arrive(counter_ptr)
            wait(counter_ptr, (BARRIERS * t + 2) * programs)
            arrived = inner_rows[None, :, :] + step * INNER + offs_k[:, None, :]
            (p_h,) = add_parts((p,), arrived, m_h, (r_h,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            n = x_n + sum_of_parts(p_h)
        new, s_n = blend(update, n, old, ACTIVATION, FAST)
        h_new = new.to(dtype)
        if mask_ptr is not None:
            h_new = tl.where(keep[:, None], h_new, h)
        slot = slot_of(t + 1, T, slots, REVERSE)
        tl.store(exchange + slot * H + offs_n[None, :], h_new, mask=inside & (t + 1 < T))
        arrive(counter_ptr)
        if SAVE:
            s_z, s_r = saved(z, update, RECURRENT_ACTIVATION), saved(r, reset, RECURRENT_ACTIVATION)
            store_three(gate_tile + step * (3 * H), H, inside, s_z, s_r, s_n)
            if RESET_AFTER:
                tl.store(inner_rows + step * INNER + offs_n[None, :], inner.to(dtype), mask=inside)
        h = h_new
        if outputs_ptr is not None:
            output = h
            if SHOWN != ALL:
                shown = keep | shown if SHOWN == SEEN else keep
                output = tl.where(shown[:, None], h, 0.0)
            tl.store(outputs_ptr + tl.cast(t, tl.int64) * H + tile, output.to(dtype), mask=inside)
    tl.store(h_ptr + state, h, mask=inside)


@triton.jit
def first_of_parts(SHARE: tl.constexpr, CHUNK: tl.constexpr, PARTS: tl.constexpr):
    """A sum over PARTS times SHARE units in PARTS, one for each warp: the first CHUNK units of each part."""
    return (tl.arange(0, PARTS) * SHARE)[:, None] + tl.arange(0, CHUNK)[None, :]


@triton.jit
def sum_of_parts(p):
    """p [PARTS, BLOCK_B, BLOCK_N] summed up.

    The last two parts are added after a split, which spreads the sums over the threads: `tl.sum` alone leaves all of
    them in every warp, and each would compute the whole cell.
    """
    PARTS: tl.constexpr = p.shape[0]
    halves = tl.sum(p.reshape(2, PARTS // 2, p.shape[1], p.shape[2]), axis=1)
    one, other = halves.permute(1, 2, 0).split()
    return one + other


@triton.jit(do_not_specialize=["B", "T"])
def gru_cooperative_backward_kernel(
    dz_ptr,
    du_ptr,
    dh_0_ptr,
    counter_ptr,
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
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    CHUNK: tl.constexpr,
    PARTS: tl.constexpr,
):
    """dz [B, T, 3 H] and with RESET_AFTER du [B, T, H] of every step, and dh of the initial state into a dh_0_ptr."""
    programs = tl.num_programs(1)
    counter_ptr += tl.program_id(0)
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    share: tl.constexpr = BLOCK_K // PARTS
    offs_k = first_of_parts(share, CHUNK, PARTS)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    tile = rows[:, None] * H + offs_n[None, :]
    gate_tile = rows[:, None] * (3 * H) + offs_n[None, :]
    exchange = dz_ptr + rows[None, :, None] * (3 * H) + offs_k[:, None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    BARRIERS: tl.constexpr = 1 if RESET_AFTER else 2

    r_rows = recurrent_kernel_ptr + offs_n[None, None, :] * (3 * H) + offs_k[:, :, None]  # transposed
    r_z = load_parts(r_rows, 1, offs_k, mask_n, H, share, CHUNK)
    r_r = load_parts(r_rows + H, 1, offs_k, mask_n, H, share, CHUNK)
    r_h = load_parts(r_rows + 2 * H, 1, offs_k, mask_n, H, share, CHUNK)
    dh = load_state(g_h_ptr, state, inside, ACCUMULATOR)
    m_z, m_r, m_h = 1.0, 1.0, 1.0
    if FACTORS == 1:
        m_z = tl.load(factors_ptr + state, mask=inside, other=0.0)
        m_r, m_h = m_z, m_z
    if FACTORS == 3:
        m_z, m_r, m_h = load_three(factors_ptr + state, tl.cast(B, tl.int64) * H, inside)
    if SHOWN == SEEN:
        first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B)

    step = step_at(T - 1, T, REVERSE)
    s_z, s_r, s_n = load_three(gates_ptr + step * (3 * H) + gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
    h = tl.load(previous_ptr + step * H + tile, mask=inside, other=0.0)
    inner = h
    if RESET_AFTER:
        inner = tl.load(inner_ptr + step * H + tile, mask=inside, other=0.0)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    for taken in tl.range(0, T, num_stages=1):
        t = T - 1 - taken
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + tl.cast(t, tl.int64) * H + tile, mask=inside, other=0.0)
            if SHOWN != ALL:
                g = tl.where(is_shown(keep, first if SHOWN == SEEN else 0, t, SHOWN)[:, None], g, 0.0)
            dh += g
        d_z, d_n, passing = blend_gradient(
            dh, s_z.to(ACCUMULATOR), s_n.to(ACCUMULATOR), h.to(ACCUMULATOR), ACTIVATION, RECURRENT_ACTIVATION
        )
        if mask_ptr is not None:
            d_z, d_n = tl.where(keep[:, None], d_z, 0.0), tl.where(keep[:, None], d_n, 0.0)
            passing = tl.where(keep[:, None], passing, dh)
        here = dz_ptr + step * (3 * H) + gate_tile
        tl.store(here, d_z.to(dtype), mask=inside)
        tl.store(here + 2 * H, d_n.to(dtype), mask=inside)
        if RESET_AFTER:
            d_r, d_u = reset_gradient(d_n, inner.to(ACCUMULATOR), s_r.to(ACCUMULATOR), RECURRENT_ACTIVATION)
            if mask_ptr is not None:
                d_r, d_u = tl.where(keep[:, None], d_r, 0.0), tl.where(keep[:, None], d_u, 0.0)
            tl.store(here + H, d_r.to(dtype), mask=inside)
            tl.store(du_ptr + step * H + tile, d_u.to(dtype), mask=inside)
        arrive(counter_ptr)
        ahead = step_at(t - 1, T, REVERSE)
        there = inside & (t > 0)
        z_ahead, r_ahead, n_ahead = load_three(gates_ptr + ahead * (3 * H) + gate_tile, H, there)
        h_ahead = tl.load(previous_ptr + ahead * H + tile, mask=there, other=0.0)
        inner_ahead = h_ahead
        if RESET_AFTER:
            inner_ahead = tl.load(inner_ptr + ahead * H + tile, mask=there, other=0.0)
        keep_ahead = load_keep(mask_ptr, rows, mask_b & (t > 0), ahead)
        arrived = exchange + step * (3 * H)
        p = tl.zeros([PARTS, BLOCK_B, BLOCK_N], ACCUMULATOR)
        wait(counter_ptr, (BARRIERS * taken + 1) * programs)
        if RESET_AFTER:
            arrived_u = du_ptr + (rows * H + step * H)[None, :, None] + offs_k[:, None, :]
            if FACTORS == 3:
                (p_z,) = add_parts((p,), arrived, None, (r_z,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                dh = passing + sum_of_parts(p_z) * m_z
                (p_r,) = add_parts((p,), arrived + H, None, (r_r,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                dh += sum_of_parts(p_r) * m_r
                (p_h,) = add_parts((p,), arrived_u, None, (r_h,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                dh += sum_of_parts(p_h) * m_h
            else:
                (p,) = add_parts((p,), arrived, None, (r_z,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                (p,) = add_parts((p,), arrived + H, None, (r_r,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                (p,) = add_parts((p,), arrived_u, None, (r_h,), offs_k, mask_b, H, PRECISION, share, CHUNK)
                dh = passing + sum_of_parts(p) * m_z
        else:
            (p_h,) = add_parts((p,), arrived + 2 * H, None, (r_h,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            d_r, d_h = reset_gradient(
                sum_of_parts(p_h) * m_h, h.to(ACCUMULATOR), s_r.to(ACCUMULATOR), RECURRENT_ACTIVATION
            )
            if mask_ptr is not None:
                d_r, d_h = tl.where(keep[:, None], d_r, 0.0), tl.where(keep[:, None], d_h, 0.0)
            tl.store(here + H, d_r.to(dtype), mask=inside)
            arrive(counter_ptr)
            (p_z,) = add_parts((p,), arrived, None, (r_z,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            dh = passing + d_h
            if FACTORS == 3:
                dh += sum_of_parts(p_z) * m_z
                p_z = p
            wait(counter_ptr, (BARRIERS * taken + 2) * programs)
            (p_r,) = add_parts((p_z,), arrived + H, None, (r_r,), offs_k, mask_b, H, PRECISION, share, CHUNK)
            dh += sum_of_parts(p_r) * m_r
        s_z, s_r, s_n, h, inner = z_ahead, r_ahead, n_ahead, h_ahead, inner_ahead
        keep, step = keep_ahead, ahead
    if dh_0_ptr is not None:
        tl.store(dh_0_ptr + state, dh.to(dtype), mask=inside)


# ---------------------------------------------------------------- launchers


def cooperative_forward(
    scan: Scan,
    reset_after: bool,
    outputs: Tensor | None,
    gates: Tensor,
    inner: Tensor | None,
    previous: Tensor | None,
    bias: Tensor | None,
    h_0: Tensor | None,
    chosen: CooperativeConfiguration,
) -> Tensor:
    """h after the last step; fills outputs, gates, inner and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h = gates.new_empty(batch, units)
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    inner = gates[..., units : 2 * units] if inner is None else inner
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    gru_cooperative_forward_kernel[grid](
        outputs,
        h,
        gates,
        inner,
        exchange,
        gates.new_zeros(grid[0], dtype=torch.int32),
        scan.recurrent_kernel,
        bias,
        None if h_0 is None else h_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        exchange.size(1),
        INNER=inner.stride(1),
        SAVE=previous is not None,
        RESET_AFTER=reset_after,
        **scan.flags(gates.dtype),
        **_tiles(chosen, units),
        maxnreg=_most_registers(scan, gates.dtype, chosen, forward=True),
    )
    return h


def cooperative_backward(
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
    chosen: CooperativeConfiguration,
) -> Tensor:
    """dh of the initial state, of use where `state_needed`; fills dz, and du with reset_after."""
    batch, steps, units = previous.shape
    dh_0 = gates.new_empty(batch, units)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    gru_cooperative_backward_kernel[grid](
        dz,
        du,
        dh_0 if state_needed else None,
        gates.new_zeros(grid[0], dtype=torch.int32),
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
        **_tiles(chosen, units),
        maxnreg=_most_registers(scan, gates.dtype, chosen, forward=False),
    )
    return dh_0


def _tiles(chosen: CooperativeConfiguration, units: int) -> dict:
    tiles = {"BLOCK_B": chosen.block_b, "BLOCK_N": chosen.block_n, "BLOCK_K": padded(units), "CHUNK": chosen.chunk}
    return tiles | {
        "PARTS": chosen.num_warps,
        "num_warps": chosen.num_warps,
        "enable_fp_fusion": True,
        "launch_cooperative_grid": True,
    }


def _most_registers(scan: Scan, dtype: torch.dtype, chosen: CooperativeConfiguration, forward: bool) -> int | None:
    """Where ptxas else stops at 80 or 128, which let more programs share a multiprocessor, and spills for it."""
    factors = gate_factors(scan.factors)
    if dtype.itemsize == 2 and chosen.block_b == 16:
        return None if factors == 1 else 168
    return 240 if forward and (factors == 3 or precision(dtype) == "tf32") else None
