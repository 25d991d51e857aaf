"""Sums over rows in Triton that give the same bits in every run: the gradients of biases, and of what is split over K.

    sum_partials(p)[l]      = sum over s of p[s, l]
    bias_gradient(g, v, f)  : gz[m, n] = g[m, n] mask[m, n] f'(v[m, n]) and db[n] = sum over m of gz[m, n]

A program sums a stretch of rows into one row of partial sums in float32 (float64 for float64), kept in memory, and
`sum_partials` adds those in a fixed order. Of a small batch one program sums all rows: there is nothing to add.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.activation.triton_kernels import activation_gradient, compute_type
from fastk.kernels.dropout.philox import threshold
from fastk.kernels.dropout.triton_kernels import keep_tile
from fastk.kernels.triton_runtime import sm_count

_IN_ONE = 8  # blocks of rows: 128 rows, 256 of up to 64 columns


@triton.jit
def sum_partials_kernel(
    out_ptr, partial_ptr, S, L_UNITS, L_UNIT: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_L: tl.constexpr
):  # fmt: skip
    """out[l] = sum over s of partial[s, l]."""
    L = L_UNITS * L_UNIT
    offs_l = tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L)
    offs_s = tl.arange(0, BLOCK_S)
    acc = tl.zeros((BLOCK_S, BLOCK_L), partial_ptr.dtype.element_ty)
    for start in range(0, S, BLOCK_S):
        rows = (start + offs_s).to(tl.int64)
        mask = (rows < S)[:, None] & (offs_l < L)[None, :]
        acc += tl.load(partial_ptr + rows[:, None] * L + offs_l[None, :], mask=mask, other=0.0)  # [BLOCK_S, BLOCK_L]
    tl.store(out_ptr + offs_l, tl.sum(acc, 0).to(out_ptr.dtype.element_ty), mask=offs_l < L)


@triton.jit
def bias_gradient_kernel(
    gz_ptr, partial_ptr, g_ptr, value_ptr, seed_ptr, M, N_UNITS, steps, threshold, scale, value_scale,
    ACTIVATION: tl.constexpr, WRITES: tl.constexpr, DROPS: tl.constexpr, N_UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """gz = g mask f'(value) where WRITES, and its sums over `steps` blocks of rows."""
    N = N_UNITS * N_UNIT
    offs_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float64 if g_ptr.dtype.element_ty == tl.float64 else tl.float32)
    for step in range(steps):
        offs_m = (tl.program_id(1) * steps + step) * BLOCK_M + tl.arange(0, BLOCK_M)
        offs = offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
        mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
        gz = compute_type(tl.load(g_ptr + offs, mask=mask, other=0.0))  # [BLOCK_M, BLOCK_N]
        if DROPS:
            kept = keep_tile(
                offs_m.to(tl.int64), tl.program_id(0) * (BLOCK_N // 8), N // 8, seed_ptr, threshold, BLOCK_M, BLOCK_N
            )
            gz = tl.where(kept, gz * scale, 0.0)
        if WRITES:
            if ACTIVATION is not None:
                value = compute_type(tl.load(value_ptr + offs, mask=mask, other=0.0))  # [BLOCK_M, BLOCK_N]
                gz = activation_gradient(gz, value * value_scale, ACTIVATION)
            tl.store(gz_ptr + offs, gz.to(gz_ptr.dtype.element_ty), mask=mask)
        acc += tl.where(mask, gz, 0.0)
    sums = tl.sum(acc, 0).to(partial_ptr.dtype.element_ty)
    tl.store(partial_ptr + tl.program_id(1) * N + offs_n, sums, mask=offs_n < N)


def sum_partials(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over the first axis of a contiguous tensor, rounded once to `dtype`."""
    count, length = partial.size(0), partial[0].numel()
    out = torch.empty(partial.shape[1:], dtype=dtype, device=partial.device)
    if not length:
        return out
    unit = math.gcd(length, 4)
    # Few programs with many rows each would not fill the device: rows beside each other instead, and for many rows more
    # of them, since each turn of the loop waits for memory once.
    block_s, block_l = (1, 1024) if length >= 65536 else (16, 64) if count <= 64 else (128, 32)
    sum_partials_kernel[(triton.cdiv(length, block_l),)](
        out,
        partial,
        count,
        length // unit,
        L_UNIT=unit,
        BLOCK_S=block_s,
        BLOCK_L=block_l,
        num_warps=4,
        enable_fp_fusion=True,
    )
    return out


def bias_gradient(
    g: Tensor,
    value: Tensor | None,
    activation: str | None,
    seed: Tensor | None = None,
    rate: float = 0.0,
    value_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(gz, db) for g [M, N] and what `activation_gradient` takes, of the same shape; both contiguous.

    With a seed, g is that of what dropout made of the activation's result, and N is a multiple of 8. value_scale:
    what value is multiplied by first. Without activation and dropout gz is g itself and value is not read.
    """
    rows, columns = g.shape
    activation = None if activation == "linear" else activation
    writes = activation is not None or seed is not None
    gz = torch.empty_like(g) if writes else g
    if not g.numel():
        return gz, g.new_zeros(columns)
    block_m, block_n = (32, 64) if columns <= 64 else (16, 128)
    unit = math.gcd(columns, 16 // g.element_size())
    tiles_n, blocks = triton.cdiv(columns, block_n), triton.cdiv(rows, block_m)
    # A second launch costs more than going through a few blocks in turn.
    steps = blocks if blocks <= _IN_ONE else triton.cdiv(blocks, max(1, 8 * sm_count() // tiles_n))
    chunks = triton.cdiv(blocks, steps)
    wide = torch.float64 if g.dtype == torch.float64 else torch.float32
    partial = g.new_empty((chunks, columns), dtype=g.dtype if chunks == 1 else wide)
    bias_gradient_kernel[(tiles_n, chunks)](
        gz, partial, g, value, seed, rows, columns // unit, steps, threshold(rate), 1.0 / (1.0 - rate), value_scale,
        ACTIVATION=activation, WRITES=writes, DROPS=seed is not None, N_UNIT=unit, BLOCK_M=block_m, BLOCK_N=block_n,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return gz, partial[0] if chunks == 1 else sum_partials(partial, g.dtype)
