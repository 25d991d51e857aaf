r"""Batch normalisation in Triton, channels last: x [R, C], R rows of C channels, f an activation.

    forward     mean = sum_r x / N,  variance = sum_r (x - mean)^2 / N             of the N counted rows, in training
                r    = 1 / sqrt(variance + epsilon),  xhat = (x - mean) r
                y    = f(gamma xhat + beta)
    backward    h    = g f'(gamma xhat + beta)
                dbeta = sum_r h,  dgamma = sum_r h xhat
                dx   = gamma r h                                                                 for given statistics
                dx   = gamma r (h - c (dbeta / N + xhat dgamma / N))                             in training

with c = 1 for counted rows and 0 for masked ones. With a mask of n counted rows N is n + e, e the fuzz factor, and the
mean is by n / N off the true one: that adds c gamma r^2 dgamma mean e / N^2 to dx.

Statistics take one pass over x. Each lane of a tile keeps a count, a mean and a sum of squares of its own rows (Welford
1962); lanes, then programs, are combined by the formula of Chan, Golub & LeVeque (1979), which subtracts no two large
numbers: data of mean 1e4 and deviation 1 keep their variance in float32. No atomics, and one order: the same bits in
every run. Up to 512 rows fit in a tile: then forward is one launch, and so is backward.

Saved are x, mean and variance; the activation's input is computed again. Least bytes: forward x twice and y once (x
once at given statistics, or up to 512 rows), backward x and g twice and dx once (once each at given statistics, where
dx takes no sums, or up to 512 rows).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk import config
from fastk.autotune import configuration_for
from fastk.kernels.activation import saves_input
from fastk.kernels.activation.triton_kernels import activate, activation_gradient, compute_type
from fastk.kernels.batch_norm.configurations import BACKWARD, FORWARD, Rows, TileConfiguration, split_rows
from fastk.kernels.triton_reduction import sum_partials
from fastk.kernels.triton_runtime import INTERPRETED, architecture, sm_count

# As many as 16 warps can have. Without a word ptxas aims at 80 on sm_80 and, with a mask, spills 8 bytes to get there.
MOST_REGISTERS = 128

# ------------------------------------------------------------ device functions


@triton.jit
def channels(ptr, offs_c, mask_c, default):
    """A vector over the channels as a row, or the number that stands for one that is not there."""
    if ptr is None:
        return default
    else:
        return compute_type(tl.load(ptr + offs_c, mask=mask_c, other=0.0))[None, :]  # [1, BLOCK_C]


@triton.jit
def before_activation(g, xhat, gamma, beta, ACTIVATION: tl.constexpr, FROM_INPUT: tl.constexpr):
    """h = g f'(z) with z = gamma xhat + beta, computed again; where f' is taken from the result, so is that."""
    h = g
    if ACTIVATION is not None:
        value = xhat * gamma + beta
        if not FROM_INPUT:
            value = activate(value, ACTIVATION)
        h = activation_gradient(g, value, ACTIVATION)
    return h


@triton.jit
def combine(count, mean, squares):
    """(count [1, C], mean, squares) of the lanes [L, C] together; count [L, 1] or [L, C]."""
    total = tl.sum(count, 0)[None, :]
    whole = tl.sum(mean * count, 0)[None, :] / tl.maximum(total, 1.0)
    apart = mean - whole
    return total, whole, tl.sum(squares + count * apart * apart, 0)[None, :]


@triton.jit
def statistics(count, mean, squares, fuzz, HAS_MASK: tl.constexpr):
    """(mean, variance) as the contract has them, with N = count + fuzz under a mask."""
    if HAS_MASK:
        N = count + fuzz
        shifted = mean * (count / N)
        apart = mean - shifted
        return shifted, (squares + count * apart * apart) / N
    else:
        return mean, squares / count


@triton.jit
def input_gradient(
    h, xhat, r, mean, gamma, dgamma, dbeta, count, counted, fuzz, HAS_MASK: tl.constexpr
):  # fmt: skip
    """dx in training."""
    if HAS_MASK:
        N = count + fuzz
        apart = (dbeta / N - r * (dgamma / N) * mean * (fuzz / N)) + xhat * (dgamma / N)
        apart = tl.where(counted, apart, 0.0)
    else:
        apart = dbeta / count + xhat * (dgamma / count)
    return gamma * r * (h - apart)


# ------------------------------------------------------------ all rows in one tile


@triton.jit
def whole_forward_kernel(
    y_ptr, mean_ptr, variance_ptr, count_ptr, x_ptr, gamma_ptr, beta_ptr, mask_ptr, epsilon, fuzz, R, C_UNITS,
    ACTIVATION: tl.constexpr, C_UNIT: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y and the statistics of BLOCK_C channels."""
    C = C_UNITS * C_UNIT
    offs_r = tl.arange(0, BLOCK_R)
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_r, mask_c = offs_r < R, offs_c < C
    mask = mask_r[:, None] & mask_c[None, :]
    offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
    x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
    counted = mask_r
    if mask_ptr is not None:
        counted &= tl.load(mask_ptr + offs_r, mask=mask_r, other=0) != 0  # [BLOCK_R]
    weight = counted.to(x.dtype)[:, None]
    count = tl.sum(weight, 0)[None, :]
    mean = tl.sum(tl.where(counted[:, None], x, 0.0), 0)[None, :] / tl.maximum(count, 1.0)
    apart = tl.where(counted[:, None], x - mean, 0.0)
    mean, variance = statistics(count, mean, tl.sum(apart * apart, 0)[None, :], fuzz, mask_ptr is not None)
    gamma, beta = channels(gamma_ptr, offs_c, mask_c, 1.0), channels(beta_ptr, offs_c, mask_c, 0.0)
    y = activate((x - mean) * (1.0 / tl.sqrt(variance + epsilon)) * gamma + beta, ACTIVATION)
    tl.store(y_ptr + offs, y.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(mean_ptr + offs_c[None, :], mean, mask=mask_c[None, :])
    tl.store(variance_ptr + offs_c[None, :], variance, mask=mask_c[None, :])
    tl.store(count_ptr, tl.sum(counted.to(x.dtype), 0), mask=tl.program_id(0) == 0)


@triton.jit
def whole_backward_kernel(
    dx_ptr, sums_ptr, g_ptr, x_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, count_ptr, mask_ptr, epsilon, fuzz, R,
    C_UNITS, HAS_DX: tl.constexpr, ACTIVATION: tl.constexpr, FROM_INPUT: tl.constexpr,
    C_UNIT: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx of BLOCK_C channels, and sums[0 and 1, :] = dgamma and dbeta."""
    C = C_UNITS * C_UNIT
    offs_r = tl.arange(0, BLOCK_R)
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_r, mask_c = offs_r < R, offs_c < C
    mask = mask_r[:, None] & mask_c[None, :]
    offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
    x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
    g = compute_type(tl.load(g_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
    gamma, beta = channels(gamma_ptr, offs_c, mask_c, 1.0), channels(beta_ptr, offs_c, mask_c, 0.0)
    mean = channels(mean_ptr, offs_c, mask_c, 0.0)
    r = 1.0 / tl.sqrt(channels(variance_ptr, offs_c, mask_c, 0.0) + epsilon)
    xhat = (x - mean) * r
    h = before_activation(g, xhat, gamma, beta, ACTIVATION, FROM_INPUT)
    h = tl.where(mask, h, 0.0)
    dgamma = tl.sum(h * xhat, 0)[None, :]
    dbeta = tl.sum(h, 0)[None, :]
    tl.store(sums_ptr + offs_c[None, :], dgamma, mask=mask_c[None, :])
    tl.store(sums_ptr + C + offs_c[None, :], dbeta, mask=mask_c[None, :])
    if HAS_DX:
        count, counted = R * 1.0, mask
        if mask_ptr is not None:
            count = tl.load(count_ptr)
            counted = (tl.load(mask_ptr + offs_r, mask=mask_r, other=0) != 0)[:, None]  # [BLOCK_R, 1]
        dx = input_gradient(
            h, xhat, r, mean, gamma, dgamma, dbeta, count, counted, fuzz, mask_ptr is not None
        )  # fmt: skip
        tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


# ------------------------------------------------------------ rows in turn


@triton.jit
def moments_kernel(
    partial_ptr, counts_ptr, x_ptr, mask_ptr, R, C_UNITS, steps,
    C_UNIT: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """partial[program, 0 and 1, :] = mean and sum of squares of `steps` blocks of rows; counts[program] = how many."""
    C = C_UNITS * C_UNIT
    WIDE: tl.constexpr = partial_ptr.dtype.element_ty
    program = tl.program_id(1)
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    count = tl.zeros((BLOCK_R, 1), WIDE)
    mean = tl.zeros((BLOCK_R, BLOCK_C), WIDE)
    squares = tl.zeros((BLOCK_R, BLOCK_C), WIDE)
    for step in range(steps):
        offs_r = (program * steps + step) * BLOCK_R + tl.arange(0, BLOCK_R)
        counted = offs_r < R
        mask = counted[:, None] & mask_c[None, :]
        offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        if mask_ptr is not None:
            counted &= tl.load(mask_ptr + offs_r, mask=counted, other=0) != 0  # [BLOCK_R]
        weight = counted.to(WIDE)[:, None]
        count += weight
        apart = tl.where(counted[:, None], x - mean, 0.0)
        mean += apart * (weight / tl.maximum(count, 1.0))
        squares += apart * (x - mean) if mask_ptr is None else tl.where(counted[:, None], apart * (x - mean), 0.0)
    _, mean, squares = combine(count, mean, squares)
    offs = program * 2 * C + offs_c[None, :]
    tl.store(partial_ptr + offs, mean, mask=mask_c[None, :])
    tl.store(partial_ptr + offs + C, squares, mask=mask_c[None, :])
    tl.store(counts_ptr + program, tl.sum(count), mask=tl.program_id(0) == 0)


@triton.jit
def combine_moments_kernel(
    mean_ptr, variance_ptr, count_ptr, partial_ptr, counts_ptr, fuzz, P, C_UNITS,
    HAS_MASK: tl.constexpr, C_UNIT: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The statistics of each channel from those of P programs."""
    C = C_UNITS * C_UNIT
    offs_p = tl.arange(0, BLOCK_P)
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_p, mask_c = offs_p < P, offs_c < C
    mask = mask_p[:, None] & mask_c[None, :]
    offs = offs_p[:, None] * (2 * C) + offs_c[None, :]
    mean = tl.load(partial_ptr + offs, mask=mask, other=0.0)  # [BLOCK_P, BLOCK_C]
    squares = tl.load(partial_ptr + offs + C, mask=mask, other=0.0)  # [BLOCK_P, BLOCK_C]
    count = tl.load(counts_ptr + offs_p, mask=mask_p, other=0.0)[:, None]  # [BLOCK_P, 1]
    total, mean, squares = combine(count, mean, squares)
    mean, variance = statistics(total, mean, squares, fuzz, HAS_MASK)
    tl.store(mean_ptr + offs_c[None, :], mean, mask=mask_c[None, :])
    tl.store(variance_ptr + offs_c[None, :], variance, mask=mask_c[None, :])
    tl.store(count_ptr, tl.sum(count), mask=tl.program_id(0) == 0)


@triton.jit
def normalise_kernel(
    y_ptr, x_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, epsilon, R, C_UNITS, steps,
    ACTIVATION: tl.constexpr, C_UNIT: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y of `steps` blocks of rows."""
    C = C_UNITS * C_UNIT
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    gamma, beta = channels(gamma_ptr, offs_c, mask_c, 1.0), channels(beta_ptr, offs_c, mask_c, 0.0)
    mean = channels(mean_ptr, offs_c, mask_c, 0.0)
    r = 1.0 / tl.sqrt(channels(variance_ptr, offs_c, mask_c, 0.0) + epsilon)
    for step in range(steps):
        offs_r = (tl.program_id(1) * steps + step) * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (offs_r < R)[:, None] & mask_c[None, :]
        offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        y = activate((x - mean) * r * gamma + beta, ACTIVATION)
        tl.store(y_ptr + offs, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def gradient_sums_kernel(
    dx_ptr, partial_ptr, g_ptr, x_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, epsilon, R, C_UNITS, steps,
    ACTIVATION: tl.constexpr, FROM_INPUT: tl.constexpr, C_UNIT: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """partial[program, 0 and 1, :] = sums of h xhat and of h over `steps` blocks of rows, dx at given statistics.

    Either pointer may be None.
    """
    C = C_UNITS * C_UNIT
    program = tl.program_id(1)
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    gamma, beta = channels(gamma_ptr, offs_c, mask_c, 1.0), channels(beta_ptr, offs_c, mask_c, 0.0)
    mean = channels(mean_ptr, offs_c, mask_c, 0.0)
    r = 1.0 / tl.sqrt(channels(variance_ptr, offs_c, mask_c, 0.0) + epsilon)
    if partial_ptr is not None:
        dgamma = tl.zeros((BLOCK_R, BLOCK_C), partial_ptr.dtype.element_ty)
        dbeta = tl.zeros((BLOCK_R, BLOCK_C), partial_ptr.dtype.element_ty)
    for step in range(steps):
        offs_r = (program * steps + step) * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (offs_r < R)[:, None] & mask_c[None, :]
        offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        g = compute_type(tl.load(g_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        xhat = (x - mean) * r
        h = before_activation(g, xhat, gamma, beta, ACTIVATION, FROM_INPUT)
        if partial_ptr is not None:
            h = tl.where(mask, h, 0.0)
            dgamma += h * xhat
            dbeta += h
        if dx_ptr is not None:  # gamma r would be kept beside gamma and r: 24 bytes spilt with gelu
            tl.store(dx_ptr + offs, (h * r * gamma).to(dx_ptr.dtype.element_ty), mask=mask)
    if partial_ptr is not None:
        offs = program * 2 * C + offs_c
        tl.store(partial_ptr + offs, tl.sum(dgamma, 0), mask=mask_c)
        tl.store(partial_ptr + offs + C, tl.sum(dbeta, 0), mask=mask_c)


@triton.jit
def input_gradient_kernel(
    dx_ptr, g_ptr, x_ptr, gamma_ptr, beta_ptr, mean_ptr, variance_ptr, sums_ptr, count_ptr, mask_ptr, epsilon, fuzz, R,
    C_UNITS, steps, ACTIVATION: tl.constexpr, FROM_INPUT: tl.constexpr, C_UNIT: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx of `steps` blocks of rows, in training."""
    C = C_UNITS * C_UNIT
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    gamma, beta = channels(gamma_ptr, offs_c, mask_c, 1.0), channels(beta_ptr, offs_c, mask_c, 0.0)
    mean = channels(mean_ptr, offs_c, mask_c, 0.0)
    r = 1.0 / tl.sqrt(channels(variance_ptr, offs_c, mask_c, 0.0) + epsilon)
    dgamma, dbeta = channels(sums_ptr, offs_c, mask_c, 0.0), channels(sums_ptr + C, offs_c, mask_c, 0.0)
    count = R * 1.0
    if mask_ptr is not None:
        count = tl.load(count_ptr)
    for step in range(steps):
        offs_r = (tl.program_id(1) * steps + step) * BLOCK_R + tl.arange(0, BLOCK_R)
        mask_r = offs_r < R
        mask = mask_r[:, None] & mask_c[None, :]
        offs = offs_r.to(tl.int64)[:, None] * C + offs_c[None, :]
        x = compute_type(tl.load(x_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        g = compute_type(tl.load(g_ptr + offs, mask=mask, other=0.0))  # [BLOCK_R, BLOCK_C]
        xhat = (x - mean) * r
        h = before_activation(g, xhat, gamma, beta, ACTIVATION, FROM_INPUT)
        counted = mask
        if mask_ptr is not None:
            counted = (tl.load(mask_ptr + offs_r, mask=mask_r, other=0) != 0)[:, None]  # [BLOCK_R, 1]
        dx = input_gradient(
            h, xhat, r, mean, gamma, dgamma, dbeta, count, counted, fuzz, mask_ptr is not None
        )  # fmt: skip
        tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


# ------------------------------------------------------------ launchers


def batch_norm_forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    axis: int,
    epsilon: float,
    training: bool,
    mask: Tensor | None,
    activation: str | None,
    configuration: TileConfiguration | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(y, mean, variance, how many rows were counted [1]); what is not computed is empty."""
    x = x.contiguous()
    chosen = configuration or configuration_for(
        FORWARD,
        _problem(x, training, mask, activation),
        (x, gamma, beta, mean, variance, axis, epsilon, training, mask, activation),
    )
    R, C, tile, shape = _plan(x, chosen)
    y = torch.empty_like(x)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    count = x.new_empty(1 if training else 0, dtype=wide)
    weights = (_flat(gamma), _flat(beta))
    if training:
        mean, variance = x.new_empty(C, dtype=wide), x.new_empty(C, dtype=wide)
        fuzz, rows = config.epsilon(), _rows(mask)
        if tile.holds(R):
            whole_forward_kernel[(triton.cdiv(C, tile.BLOCK_C),)](
                y, mean, variance, count, x, *weights, rows, epsilon, fuzz, R, C // shape["C_UNIT"],
                ACTIVATION=activation, maxnreg=MOST_REGISTERS, **shape,
            )  # fmt: skip
            return y, mean, variance, count
        _moments(mean, variance, count, x, rows, fuzz, R, C, tile, shape)
    if x.numel():
        columns, programs, steps = split_rows(R, C, tile, sm_count())
        normalise_kernel[(columns, programs)](
            y, x, *weights, mean, variance, epsilon, R, C // shape["C_UNIT"], steps, ACTIVATION=activation, **shape
        )  # fmt: skip
    empty = y.new_empty(0, dtype=wide)
    return (y, mean, variance, count) if training else (y, empty, empty.clone(), count)


def _moments(mean, variance, count, x, rows, fuzz: float, R: int, C: int, tile: TileConfiguration, shape: dict) -> None:
    columns, programs, steps = split_rows(R, C, tile, sm_count())
    partial, counts = mean.new_empty((programs, 2, C)), mean.new_empty(programs)
    moments_kernel[(columns, programs)](partial, counts, x, rows, R, C // shape["C_UNIT"], steps, **shape)
    block_p = triton.next_power_of_2(programs)
    block_c = max(8, min(64, 4096 // block_p))
    combine_moments_kernel[(triton.cdiv(C, block_c),)](
        mean, variance, count, partial, counts, fuzz, programs, C // shape["C_UNIT"], HAS_MASK=rows is not None,
        C_UNIT=shape["C_UNIT"], BLOCK_P=block_p, BLOCK_C=block_c, num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip


def batch_norm_backward(
    g: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    count: Tensor,
    epsilon: float,
    training: bool,
    mask: Tensor | None,
    activation: str | None,
    needed: Sequence[bool],
    configuration: TileConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """(dx, [dgamma, dbeta]): the sums [2, C] are in the type of the statistics; what is not needed is empty.

    needed: whether dx is, and whether one of the sums is.
    """
    x, g = x.contiguous(), g.contiguous()
    chosen = configuration or configuration_for(
        BACKWARD,
        _problem(x, training, mask, activation),
        (g, x, gamma, beta, mean, variance, count, epsilon, training, mask, activation, needed),
    )
    R, C, tile, shape = _plan(x, chosen)
    has_dx, has_sums = needed
    dx = torch.empty_like(x) if has_dx else x.new_empty(0)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    sums = x.new_empty((2, C) if has_sums else 0, dtype=wide)
    if not x.numel():
        return dx, sums.zero_()
    inputs = (g, x, _flat(gamma), _flat(beta), mean, variance)
    units, rows, fuzz = C // shape["C_UNIT"], _rows(mask), config.epsilon()
    flags = {"ACTIVATION": activation, "FROM_INPUT": saves_input(activation), **shape}
    if training and tile.holds(R):
        whole = sums if has_sums else x.new_empty((2, C), dtype=wide)
        whole_backward_kernel[(triton.cdiv(C, tile.BLOCK_C),)](
            dx, whole, *inputs, count, rows, epsilon, fuzz, R, units, HAS_DX=has_dx, maxnreg=MOST_REGISTERS,
            **flags,
        )  # fmt: skip
        return dx, sums
    columns, programs, steps = split_rows(R, C, tile, sm_count())
    partial = x.new_empty((programs, 2, C), dtype=wide) if has_sums or training else None
    if has_sums or has_dx:
        gradient_sums_kernel[(columns, programs)](
            dx if has_dx and not training else None, partial, *inputs, epsilon, R, units, steps,
            maxnreg=MOST_REGISTERS, **flags,
        )  # fmt: skip
    totals = sums if partial is None else sum_partials(partial, wide)
    if has_dx and training:
        input_gradient_kernel[(columns, programs)](
            dx, *inputs, totals, count, rows, epsilon, fuzz, R, units, steps, **flags
        )  # fmt: skip
    return dx, totals if has_sums else sums


def supports(op: str, x: Tensor, gamma, beta, mean, variance, axis: int, *others) -> str | None:
    """None, or why the kernel cannot take the call."""
    if x.dtype == torch.float64 and not INTERPRETED:
        return "the kernel computes in float32, and x is torch.float64"
    if axis != x.dim() - 1:
        return f"the kernel takes channels that are last, and they are axis {axis} of {x.dim()}"
    if x.size(axis) == 0:
        return "x has no channels"
    return None


def _problem(x: Tensor, training: bool, mask: Tensor | None, activation: str | None) -> Rows:
    C = x.size(-1)
    return Rows(x.numel() // C, C, x.dtype, training, mask is not None, activation, architecture(), sm_count())


def _plan(x: Tensor, tile: TileConfiguration) -> tuple[int, int, TileConfiguration, dict]:
    """(R, C, tile, what every launch says of it)."""
    C = x.size(-1)
    R = x.numel() // C
    unit = math.gcd(C, 16 // x.element_size())
    shape = {"C_UNIT": unit, "BLOCK_R": tile.BLOCK_R, "BLOCK_C": tile.BLOCK_C}
    return R, C, tile, shape | {"num_warps": tile.num_warps, "enable_fp_fusion": True}


def _rows(mask: Tensor | None) -> Tensor | None:
    """The mask as bytes, one a row."""
    return None if mask is None else mask.contiguous().view(torch.uint8)


def _flat(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous()
