r"""Layer normalisation in Triton, over the last axes: rows x[m, :] of N elements, M of them.

    forward     mean  = sum_n x / N,  variance = sum_n (x - mean)^2 / N,  r = 1 / sqrt(variance + epsilon)
                xhat  = (x - mean) r
                y     = gamma xhat + beta
    backward    w     = g gamma
                dx    = r (w - sum_n w / N - xhat sum_n (w xhat) / N)
                dgamma[n] = sum_m g xhat,  dbeta[n] = sum_m g

x is read once: a program holds whole rows in registers, so that the variance is a true second pass over them and a
large mean costs no digits. Saved are x, mean and r, 8 bytes a row. Programs stay on their multiprocessor and walk down
the rows with gamma and beta in registers, while the next rows are copied to shared memory. Backward reads g and x once;
each program adds up dgamma and dbeta over its own rows, and a second launch adds the programs' sums in a fixed order:
the same bits in every run, without atomics.

Least bytes: forward x and y; backward g, x and dx.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.activation.triton_kernels import compute_type
from fastk.kernels.layer_norm.configurations import (
    BACKWARD,
    BACKWARD_WARPS,
    FORWARD,
    FORWARD_WARPS,
    LONGEST_ROW,
    RowConfiguration,
    Rows,
    registers,
    share_out,
)
from fastk.kernels.triton_reduction import sum_partials
from fastk.kernels.triton_runtime import INTERPRETED, architecture, sm_count


@triton.jit
def layer_norm_forward_kernel(
    y_ptr, mean_ptr, r_ptr, x_ptr, gamma_ptr, beta_ptr, epsilon, M, N_UNITS, steps,
    N_UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """y, mean and r of `steps` blocks of rows."""
    N = N_UNITS * N_UNIT
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < N
    if gamma_ptr is not None:
        gamma = compute_type(tl.load(gamma_ptr + offs_n, mask=mask_n, other=0.0))[None, :]  # [1, BLOCK_N]
    if beta_ptr is not None:
        beta = compute_type(tl.load(beta_ptr + offs_n, mask=mask_n, other=0.0))[None, :]  # [1, BLOCK_N]
    for step in tl.range(steps, num_stages=STAGES):
        offs_m = (tl.program_id(0) * steps + step) * BLOCK_M + tl.arange(0, BLOCK_M)
        offs = offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
        mask_m = offs_m < M
        mask = mask_m[:, None] & mask_n[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_M, BLOCK_N]
        mean = tl.sum(x, 1) / N
        centered = tl.where(mask, x - mean[:, None], 0.0)
        r = 1.0 / tl.sqrt(tl.sum(centered * centered, 1) / N + epsilon)
        y = centered * r[:, None]
        if gamma_ptr is not None:
            y *= gamma
        if beta_ptr is not None:
            y += beta
        tl.store(y_ptr + offs, y.to(y_ptr.dtype.element_ty), mask=mask)
        tl.store(mean_ptr + offs_m, mean, mask=mask_m)
        tl.store(r_ptr + offs_m, r, mask=mask_m)


@triton.jit
def layer_norm_backward_kernel(
    dx_ptr, partial_ptr, g_ptr, x_ptr, gamma_ptr, mean_ptr, r_ptr, M, N_UNITS, steps,
    HAS_DX: tl.constexpr, HAS_SUMS: tl.constexpr, N_UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """dx of `steps` blocks of rows, and in partial[program, 0 and 1, :] their sums for dgamma and dbeta."""
    N = N_UNITS * N_UNIT
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < N
    if gamma_ptr is not None:
        gamma = compute_type(tl.load(gamma_ptr + offs_n, mask=mask_n, other=0.0))[None, :]  # [1, BLOCK_N]
    if HAS_SUMS:
        dgamma = tl.zeros((BLOCK_M, BLOCK_N), partial_ptr.dtype.element_ty)
        dbeta = tl.zeros((BLOCK_M, BLOCK_N), partial_ptr.dtype.element_ty)
    for step in tl.range(steps, num_stages=STAGES):
        offs_m = (tl.program_id(0) * steps + step) * BLOCK_M + tl.arange(0, BLOCK_M)
        offs = offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
        mask_m = offs_m < M
        mask = mask_m[:, None] & mask_n[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_M, BLOCK_N]
        g = compute_type(tl.load(g_ptr + offs, mask=mask, other=0.0))  # [BLOCK_M, BLOCK_N]
        mean = tl.load(mean_ptr + offs_m, mask=mask_m, other=0.0)[:, None]  # [BLOCK_M, 1]
        r = tl.load(r_ptr + offs_m, mask=mask_m, other=0.0)[:, None]  # [BLOCK_M, 1]
        xhat = tl.where(mask, (x - mean) * r, 0.0)
        if HAS_DX:
            w = g
            if gamma_ptr is not None:
                w *= gamma
            dx = r * (w - (tl.sum(w, 1) / N)[:, None] - xhat * (tl.sum(w * xhat, 1) / N)[:, None])
            tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if HAS_SUMS:
            dgamma += g * xhat
            dbeta += g
    if HAS_SUMS:
        offs = tl.program_id(0) * 2 * N + offs_n
        tl.store(partial_ptr + offs, tl.sum(dgamma, 0), mask=mask_n)
        tl.store(partial_ptr + offs + N, tl.sum(dbeta, 0), mask=mask_n)


def layer_norm_forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    axes: Sequence[int],
    epsilon: float,
    configuration: RowConfiguration | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, r); the statistics [M] are float32, or float64 of float64."""
    x = x.contiguous()
    M, N = _rows(x, axes)
    y = torch.empty_like(x)
    mean, r = (x.new_empty(M, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32) for _ in range(2))
    if x.numel():
        problem = Rows(M, N, x.dtype, architecture(), sm_count())
        chosen = configuration or configuration_for(FORWARD, problem, (x, gamma, beta, axes, epsilon))
        programs, steps = share_out(M, chosen, FORWARD_WARPS, sm_count())
        unit = math.gcd(N, 16 // x.element_size())
        layer_norm_forward_kernel[(programs,)](
            y, mean, r, x, _flat(gamma), _flat(beta), epsilon, M, N // unit, steps,
            N_UNIT=unit, BLOCK_M=chosen.BLOCK_M, BLOCK_N=chosen.BLOCK_N, STAGES=_stages(x, unit),
            num_warps=chosen.num_warps, enable_fp_fusion=True, maxnreg=registers(chosen, FORWARD_WARPS),
        )  # fmt: skip
    return y, mean, r


def layer_norm_backward(
    g: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    mean: Tensor,
    r: Tensor,
    axes: Sequence[int],
    needed: Sequence[bool],
    configuration: RowConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """(dx, [dgamma, dbeta]): the sums [2, ...] are in the type of the statistics; what is not needed is empty.

    needed: whether dx is, and whether one of the sums is.
    """
    x, g = x.contiguous(), g.contiguous()
    M, N = _rows(x, axes)
    has_dx, has_sums = needed
    dx = torch.empty_like(x) if has_dx else x.new_empty(0)
    sizes = [x.size(axis) for axis in axes]
    if not x.numel():
        return dx, mean.new_zeros((2, *sizes) if has_sums else 0)
    problem = Rows(M, N, x.dtype, architecture(), sm_count())
    chosen = configuration or configuration_for(BACKWARD, problem, (g, x, gamma, mean, r, axes, needed))
    programs, steps = share_out(M, chosen, BACKWARD_WARPS, sm_count())
    partial = mean.new_empty((programs, 2, N) if has_sums else 0)
    unit = math.gcd(N, 16 // x.element_size())
    layer_norm_backward_kernel[(programs,)](
        dx, partial, g, x, _flat(gamma), mean, r, M, N // unit, steps, HAS_DX=has_dx, HAS_SUMS=has_sums,
        N_UNIT=unit, BLOCK_M=chosen.BLOCK_M, BLOCK_N=chosen.BLOCK_N, STAGES=_stages(x, unit),
        num_warps=chosen.num_warps, enable_fp_fusion=True, maxnreg=registers(chosen, BACKWARD_WARPS),
    )  # fmt: skip
    return dx, sum_partials(partial, partial.dtype).view(2, *sizes) if has_sums else partial


def supports(op: str, x: Tensor, gamma, beta, axes: Sequence[int], epsilon: float) -> str | None:
    """None, or why the kernel cannot take the call."""
    if x.dtype == torch.float64 and not INTERPRETED:
        return "the kernel computes in float32, and x is torch.float64"
    rank = x.dim()
    if tuple(axes) != tuple(range(rank - len(axes), rank)):
        return f"the kernel normalises the last axes, and axes {tuple(axes)} of {rank} are others"
    N = math.prod([x.size(axis) for axis in axes])
    if N > LONGEST_ROW:
        return f"the kernel holds up to {LONGEST_ROW} elements that are normalised together, and these are {N}"
    return None


def _rows(x: Tensor, axes: Sequence[int]) -> tuple[int, int]:
    """(M, N)."""
    split = x.dim() - len(axes)
    return math.prod(x.shape[:split]), math.prod(x.shape[split:])


def _stages(x: Tensor, unit: int) -> int:
    """2, rows that are computed and rows on their way, where these are copied by 16 bytes; copies by 4 spill.

    With 3, forward of 4096 float32 spills.
    """
    return 2 if unit * x.element_size() == 16 else 1


def _flat(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous()
