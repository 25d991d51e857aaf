"""The GRU's scan, a launch for each step, for any number of units; two launches without reset_after.

A program has BLOCK_B sequences and BLOCK_N units with their gates. h goes from program to program through `previous`,
the gradients through dz and du. Without reset_after the product with R_h needs r h' of all units: the launch before
computes it, and backward the launch after takes the gradient back through it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.gru.triton_cell import blend, blend_gradient, load_factor, load_three, reset_gradient
from fastk.kernels.recurrence_configurations import StepConfiguration
from fastk.kernels.recurrence_triton import (
    ALL,
    SEEN,
    Scan,
    first_unmasked,
    is_shown,
    load_keep,
    saved,
    squash,
    step_at,
    sum_of_rows,
    value,
)


@triton.jit(do_not_specialize=["B", "T", "t", "slot", "slots"])
def gru_step_reset_forward_kernel(
    gates_ptr,
    inner_ptr,
    exchange_ptr,
    recurrent_kernel_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    t,
    slot,
    slots,
    H: tl.constexpr,
    INNER: tl.constexpr,
    SAVE: tl.constexpr,
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
    """Without reset_after, the first half of step t: z, r (with SAVE) and r h'.

    exchange [B, slots, H] has h' at `slot`. A step of `inner` is INNER elements wide: it may be the r of `gates`.
    """
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    rows = offs_b.to(tl.int64) * T
    step = step_at(t, T, REVERSE)
    gate_tile = gates_ptr + (rows + step)[:, None] * (3 * H) + offs_n[None, :]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    z = tl.load(gate_tile, mask=inside, other=0.0).to(ACCUMULATOR)  # [BLOCK_B, BLOCK_N]
    r = tl.load(gate_tile + H, mask=inside, other=0.0).to(ACCUMULATOR)
    exchange = exchange_ptr + offs_b.to(tl.int64)[:, None] * (slots * H) + slot * H
    for k in range(0, H, BLOCK_K):
        mask_k = k + offs_k < H
        inside_k = mask_b[:, None] & mask_k[None, :]
        a = tl.load(exchange + (k + offs_k)[None, :], mask=inside_k, other=0.0)  # [BLOCK_B, BLOCK_K]
        r_tile = recurrent_kernel_ptr + (k + offs_k)[:, None] * (3 * H) + offs_n[None, :]
        inside_r = mask_k[:, None] & mask_n[None, :]
        r_z = tl.load(r_tile, mask=inside_r, other=0.0)  # [BLOCK_K, BLOCK_N]
        r_r = tl.load(r_tile + H, mask=inside_r, other=0.0)
        a_z, a_r = a, a
        if FACTORS:
            m_tile = offs_b.to(tl.int64)[:, None] * H + (k + offs_k)[None, :]
            a_z = (a * load_factor(factors_ptr, m_tile, B, inside_k, 0, H, FACTORS)).to(dtype)
            a_r = (a * load_factor(factors_ptr, m_tile, B, inside_k, 1, H, FACTORS)).to(dtype)
        z = tl.dot(a_z, r_z, z, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        r = tl.dot(a_r, r_r, r, input_precision=PRECISION, out_dtype=ACCUMULATOR)
    FAST: tl.constexpr = dtype == tl.bfloat16
    update = squash(z, RECURRENT_ACTIVATION, FAST)
    tl.store(gate_tile, saved(z, update, RECURRENT_ACTIVATION).to(dtype), mask=inside)
    reset = squash(r, RECURRENT_ACTIVATION, FAST)
    if SAVE:
        tl.store(gate_tile + H, saved(r, reset, RECURRENT_ACTIVATION).to(dtype), mask=inside)
    h = tl.load(exchange + offs_n[None, :], mask=inside, other=0.0)
    q = reset * h
    if mask_ptr is not None:  # NaN in a masked step of x reaches no product
        q = tl.where(load_keep(mask_ptr, rows, mask_b, step)[:, None], q, 0.0)
    tl.store(inner_ptr + (rows + step)[:, None] * INNER + offs_n[None, :], q.to(dtype), mask=inside)


@triton.jit(do_not_specialize=["B", "T", "t", "slot", "next_slot", "slots"])
def gru_step_forward_kernel(
    outputs_ptr,
    h_ptr,
    gates_ptr,
    inner_ptr,
    exchange_ptr,
    recurrent_kernel_ptr,
    bias_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    t,
    slot,
    next_slot,
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
):
    """Step t, or without RESET_AFTER its second half.

    exchange [B, slots, H] has h' at `slot` and takes h at `next_slot`; the last step's goes to h [B, H].
    """
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    rows = offs_b.to(tl.int64) * T
    step = step_at(t, T, REVERSE)
    gate_tile = gates_ptr + (rows + step)[:, None] * (3 * H) + offs_n[None, :]
    inner = inner_ptr + (rows + step)[:, None] * INNER
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    z, r, n = load_three(gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
    z, r, n = z.to(ACCUMULATOR), r.to(ACCUMULATOR), n.to(ACCUMULATOR)
    u = tl.zeros([BLOCK_B, BLOCK_N], ACCUMULATOR)
    if bias_ptr is not None:
        u += tl.load(bias_ptr + offs_n, mask=mask_n, other=0.0).to(ACCUMULATOR)[None, :]
    exchange = exchange_ptr + offs_b.to(tl.int64)[:, None] * (slots * H)
    for k in range(0, H, BLOCK_K):
        mask_k = k + offs_k < H
        inside_k = mask_b[:, None] & mask_k[None, :]
        operand = exchange + slot * H if RESET_AFTER else inner
        a = tl.load(operand + (k + offs_k)[None, :], mask=inside_k, other=0.0)  # [BLOCK_B, BLOCK_K]
        r_tile = recurrent_kernel_ptr + (k + offs_k)[:, None] * (3 * H) + offs_n[None, :]
        inside_r = mask_k[:, None] & mask_n[None, :]
        m_tile = offs_b.to(tl.int64)[:, None] * H + (k + offs_k)[None, :]
        a_h = a
        if FACTORS:
            a_h = (a * load_factor(factors_ptr, m_tile, B, inside_k, 2, H, FACTORS)).to(dtype)
        if RESET_AFTER:
            r_z, r_r, r_h = load_three(r_tile, H, inside_r)  # [BLOCK_K, BLOCK_N]
            a_z, a_r = a_h, a_h
            if FACTORS == 3:
                a_z = (a * load_factor(factors_ptr, m_tile, B, inside_k, 0, H, FACTORS)).to(dtype)
                a_r = (a * load_factor(factors_ptr, m_tile, B, inside_k, 1, H, FACTORS)).to(dtype)
            z = tl.dot(a_z, r_z, z, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            r = tl.dot(a_r, r_r, r, input_precision=PRECISION, out_dtype=ACCUMULATOR)
            u = tl.dot(a_h, r_h, u, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        else:
            r_h = tl.load(r_tile + 2 * H, mask=inside_r, other=0.0)  # [BLOCK_K, BLOCK_N]
            n = tl.dot(a_h, r_h, n, input_precision=PRECISION, out_dtype=ACCUMULATOR)
    h_old = tl.load(exchange + slot * H + offs_n[None, :], mask=inside, other=0.0)
    FAST: tl.constexpr = dtype == tl.bfloat16
    if RESET_AFTER:
        update = squash(z, RECURRENT_ACTIVATION, FAST)
        reset = squash(r, RECURRENT_ACTIVATION, FAST)
        n += reset * u
        if SAVE:
            tl.store(gate_tile, saved(z, update, RECURRENT_ACTIVATION).to(dtype), mask=inside)
            tl.store(gate_tile + H, saved(r, reset, RECURRENT_ACTIVATION).to(dtype), mask=inside)
            tl.store(inner + offs_n[None, :], u.to(dtype), mask=inside)
    else:
        update = value(z, RECURRENT_ACTIVATION)
    new, s_n = blend(update, n, h_old.to(ACCUMULATOR), ACTIVATION, FAST)
    if SAVE:
        tl.store(gate_tile + 2 * H, s_n.to(dtype), mask=inside)
    h = new.to(dtype)
    keep = load_keep(mask_ptr, rows, mask_b, step)
    if mask_ptr is not None:
        h = tl.where(keep[:, None], h, h_old)
    tl.store(exchange + next_slot * H + offs_n[None, :], h, mask=inside & (t + 1 < T))
    tl.store(h_ptr + offs_b.to(tl.int64)[:, None] * H + offs_n[None, :], h, mask=inside & (t + 1 == T))
    if outputs_ptr is not None:
        if SHOWN != ALL:
            first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B) if SHOWN == SEEN else 0
            h = tl.where(is_shown(keep, first, t, SHOWN)[:, None], h, 0.0).to(dtype)
        tl.store(outputs_ptr + (rows + t)[:, None] * H + offs_n[None, :], h, mask=inside)


@triton.jit(do_not_specialize=["B", "T", "t"])
def gru_step_backward_kernel(
    dz_ptr,
    du_ptr,
    dh_ptr,
    g_outputs_ptr,
    gates_ptr,
    inner_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
    mask_ptr,
    factors_ptr,
    B,
    T,
    t,
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
):
    """Step t, without RESET_AFTER all of it but r; or with t = -1 what reaches the initial h.

    dh [B, H], in ACCUMULATOR, is the gradient of h but for what the step after passes through its z, r and u; at first
    that of the last h. It becomes that of h', likewise.
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
        after = (rows + step_at(t + 1, T, REVERSE))[:, None]
        dz_rows, du_rows = dz_ptr + after * (3 * H), du_ptr + after * H
        r_rows = recurrent_kernel_ptr + offs_n[None, :] * (3 * H)
        b, n = mask_b[:, None], mask_n[None, :]
        p = tl.zeros([BLOCK_B, BLOCK_N], ACCUMULATOR)
        if FACTORS == 3:
            m_z = load_factor(factors_ptr, state, B, inside, 0, H, FACTORS)
            m_r = load_factor(factors_ptr, state, B, inside, 1, H, FACTORS)
            dh += sum_of_rows(dz_rows, r_rows, p, b, n, H, PRECISION, BLOCK_K) * m_z
            dh += sum_of_rows(dz_rows + H, r_rows + H, p, b, n, H, PRECISION, BLOCK_K) * m_r
            if RESET_AFTER:
                m_h = load_factor(factors_ptr, state, B, inside, 2, H, FACTORS)
                dh += sum_of_rows(du_rows, r_rows + 2 * H, p, b, n, H, PRECISION, BLOCK_K) * m_h
        else:
            p = sum_of_rows(dz_rows, r_rows, p, b, n, 2 * H, PRECISION, BLOCK_K)
            if RESET_AFTER:
                p = sum_of_rows(du_rows, r_rows + 2 * H, p, b, n, H, PRECISION, BLOCK_K)
            if FACTORS:
                p *= load_factor(factors_ptr, state, B, inside, 0, H, FACTORS)
            dh += p
    if t >= 0:
        step = step_at(t, T, REVERSE)
        tile = (rows + step)[:, None] * H + offs_n[None, :]
        gate_tile = (rows + step)[:, None] * (3 * H) + offs_n[None, :]
        keep = load_keep(mask_ptr, rows, mask_b, step)
        if g_outputs_ptr is not None:
            g = tl.load(g_outputs_ptr + (rows + t)[:, None] * H + offs_n[None, :], mask=inside, other=0.0)
            if SHOWN != ALL:
                first = first_unmasked(mask_ptr, rows, mask_b, T, REVERSE, BLOCK_B) if SHOWN == SEEN else 0
                g = tl.where(is_shown(keep, first, t, SHOWN)[:, None], g, 0.0)
            dh += g
        s_z, s_r, s_n = load_three(gates_ptr + gate_tile, H, inside)  # [BLOCK_B, BLOCK_N]
        h = tl.load(previous_ptr + tile, mask=inside, other=0.0).to(ACCUMULATOR)
        d_z, d_n, passing = blend_gradient(
            dh, s_z.to(ACCUMULATOR), s_n.to(ACCUMULATOR), h, ACTIVATION, RECURRENT_ACTIVATION
        )
        if mask_ptr is not None:
            d_z, d_n = tl.where(keep[:, None], d_z, 0.0), tl.where(keep[:, None], d_n, 0.0)
            passing = tl.where(keep[:, None], passing, dh)
        tl.store(dz_ptr + gate_tile, d_z.to(dtype), mask=inside)
        tl.store(dz_ptr + gate_tile + 2 * H, d_n.to(dtype), mask=inside)
        if RESET_AFTER:
            u = tl.load(inner_ptr + tile, mask=inside, other=0.0).to(ACCUMULATOR)
            d_r, d_u = reset_gradient(d_n, u, s_r.to(ACCUMULATOR), RECURRENT_ACTIVATION)
            if mask_ptr is not None:
                d_r, d_u = tl.where(keep[:, None], d_r, 0.0), tl.where(keep[:, None], d_u, 0.0)
            tl.store(dz_ptr + gate_tile + H, d_r.to(dtype), mask=inside)
            tl.store(du_ptr + tile, d_u.to(dtype), mask=inside)
        dh = passing
    tl.store(dh_ptr + state, dh, mask=inside)


@triton.jit(do_not_specialize=["B", "T", "t"])
def gru_step_reset_backward_kernel(
    dz_ptr,
    dh_ptr,
    gates_ptr,
    previous_ptr,
    recurrent_kernel_ptr,
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
    """Without reset_after, the second half of step t: from dn the gradient of r h', to r and to h'."""
    offs_b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_b, mask_n = offs_b < B, offs_n < H
    inside = mask_b[:, None] & mask_n[None, :]
    state = offs_b.to(tl.int64)[:, None] * H + offs_n[None, :]
    rows = offs_b.to(tl.int64) * T
    step = step_at(t, T, REVERSE)
    here = (rows + step)[:, None]
    dtype: tl.constexpr = gates_ptr.dtype.element_ty
    dq = sum_of_rows(
        dz_ptr + here * (3 * H) + 2 * H,
        recurrent_kernel_ptr + offs_n[None, :] * (3 * H) + 2 * H,
        tl.zeros([BLOCK_B, BLOCK_N], ACCUMULATOR),
        mask_b[:, None],
        mask_n[None, :],
        H,
        PRECISION,
        BLOCK_K,
    )
    if FACTORS:
        dq *= load_factor(factors_ptr, state, B, inside, 2, H, FACTORS)
    gate_tile = here * (3 * H) + H + offs_n[None, :]
    s_r = tl.load(gates_ptr + gate_tile, mask=inside, other=0.0).to(ACCUMULATOR)  # [BLOCK_B, BLOCK_N]
    h = tl.load(previous_ptr + here * H + offs_n[None, :], mask=inside, other=0.0).to(ACCUMULATOR)
    d_r, d_h = reset_gradient(dq, h, s_r, RECURRENT_ACTIVATION)
    if mask_ptr is not None:
        keep = load_keep(mask_ptr, rows, mask_b, step)[:, None]
        d_r, d_h = tl.where(keep, d_r, 0.0), tl.where(keep, d_h, 0.0)
    tl.store(dz_ptr + gate_tile, d_r.to(dtype), mask=inside)
    tl.store(dh_ptr + state, tl.load(dh_ptr + state, mask=inside, other=0.0) + d_h, mask=inside)


# ---------------------------------------------------------------- launchers


def step_forward(
    scan: Scan,
    reset_after: bool,
    outputs: Tensor | None,
    gates: Tensor,
    inner: Tensor | None,
    previous: Tensor | None,
    bias: Tensor | None,
    h_0: Tensor | None,
    chosen: StepConfiguration,
) -> Tensor:
    """h after the last step; fills outputs, gates, inner and previous where they are given."""
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    save = previous is not None
    slots = [(steps - 1 - t if scan.reverse else t) if save else t % 2 for t in range(steps)]
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    exchange[:, slots[0]] = 0.0 if h_0 is None else h_0
    inner = gates[..., units : 2 * units] if inner is None else inner
    h = gates.new_empty(batch, units)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    flags = scan.flags(gates.dtype) | _tiles(chosen) | {"INNER": inner.stride(1), "SAVE": save}
    common = scan.recurrent_kernel, bias, scan.mask, scan.factors, batch, steps
    for t in range(steps):
        if not reset_after:
            place = t, slots[t], exchange.size(1)
            gru_step_reset_forward_kernel[grid](gates, inner, exchange, common[0], *common[2:], *place, **flags)
        place = t, slots[t], slots[min(t + 1, steps - 1)], exchange.size(1)
        gru_step_forward_kernel[grid](
            outputs, h, gates, inner, exchange, *common, *place, RESET_AFTER=reset_after, **flags
        )
    return h


def step_backward(
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
    chosen: StepConfiguration,
) -> Tensor:
    """dh of the initial state, of use where `state_needed`; fills dz, and du with reset_after."""
    batch, steps, units = previous.shape
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    dh = gates.new_zeros(batch, units, dtype=wide) if g_h is None else g_h.to(wide, copy=True)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    flags = scan.flags(gates.dtype) | _tiles(chosen)
    common = scan.recurrent_kernel, scan.mask, scan.factors, batch, steps
    for t in range(steps - 1, -2 if state_needed else -1, -1):
        gru_step_backward_kernel[grid](
            dz, du, dh, g_outputs, gates, inner, previous, *common, t, RESET_AFTER=reset_after, **flags
        )
        if not reset_after and t >= 0:
            gru_step_reset_backward_kernel[grid](dz, dh, gates, previous, *common, t, **flags)
    return dh.to(gates.dtype)


def _tiles(chosen: StepConfiguration) -> dict[str, int]:
    blocks = {"BLOCK_B": chosen.block_b, "BLOCK_N": chosen.block_n, "BLOCK_K": chosen.block_k}
    return blocks | {"num_warps": chosen.num_warps, "enable_fp_fusion": True, "num_stages": chosen.num_stages}
