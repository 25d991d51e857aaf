"""The gradient of a convolution by its kernel, in Triton: a product over all pixels, split between programs.

    dW[(r, s, c), f] = sum over pixels p = (b, i, j) of x[b, i stride - top + r dilation, .., c] g[p, f]

    M  rows of the product: columns (r, s, c) of a patch     N  filters of one group
    K  pixels                                                G  groups, an axis of the grid

M and N are small and K is millions, so that K is split: each program writes its partial sum in float32, and a second
kernel adds the partial sums in a fixed order. The same bits come out of every run; atomics would not give them.

A pixel's (b, i, j) is divided out of its index once. From there on a step of BLOCK_K pixels adds three numbers with
two carries, which costs a third of two divisions by sizes that the compiler does not know.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.conv2d.configurations import KERNEL_GRADIENT, KernelGradient
from fastk.kernels.conv2d.triton_correlation import is_inside
from fastk.kernels.gemm_configurations import GemmConfiguration, kind_of, splits_of, tiles
from fastk.kernels.triton_reduction import sum_partials
from fastk.kernels.triton_runtime import architecture, sm_count
from fastk.kernels.window import Padding, Pair


@triton.jit
def kernel_gradient_kernel(
    partial_ptr, x_ptr, g_ptr,
    B, IN_H, IN_W, OUT_H, OUT_W, C_UNITS, N_UNITS, G, R, S,
    stride_h, stride_w, dilation_h, dilation_w, top, left, steps, step_b, step_i, step_j,
    C_UNIT: tl.constexpr, N_UNIT: tl.constexpr, INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of dW over `steps` blocks of pixels; BLOCK_K = (step_b OUT_H + step_i) OUT_W + step_j."""
    C, N = C_UNITS * C_UNIT, N_UNITS * N_UNIT
    group, split = tl.program_id(1), tl.program_id(2)
    tiles_n = tl.cdiv(N, BLOCK_N)
    pid_m, pid_n = tl.program_id(0) // tiles_n, tl.program_id(0) % tiles_n
    offs_m = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    mask_m = offs_m < R * S * C
    tap, c = offs_m // C, offs_m % C
    r, s = tap // S * dilation_h, tap % S * dilation_w
    shift = (r * IN_W + s) * (C * G) + c + group * C
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_n = offs_n < N
    # Pixels, their windows' corners (h, w), and the corners' offsets from the first pixel's image in units of C_UNIT
    # elements: Triton 3.9 does not see that a sum carried through a loop stays divisible by them, and loads scalars.
    start = split * steps * BLOCK_K
    offs_k = tl.arange(0, BLOCK_K)
    b, i, j = (start + offs_k) // OUT_W // OUT_H, (start + offs_k) // OUT_W % OUT_H, (start + offs_k) % OUT_W
    h, w = i * stride_h - top, j * stride_w - left
    pixel_size = C_UNITS * G
    row_size, image_size = IN_W * pixel_size, IN_H * IN_W * pixel_size
    first = start // OUT_W // OUT_H
    x_ptr += first.to(tl.int64) * image_size * C_UNIT
    corner = (b - first) * image_size + h * row_size + w * pixel_size
    end_h, end_w = OUT_H * stride_h, OUT_W * stride_w
    step_h, step_w = step_i * stride_h, step_j * stride_w
    step_corner = step_b * image_size + step_h * row_size + step_w * pixel_size
    carry_w, carry_h = stride_h * row_size - end_w * pixel_size, image_size - end_h * row_size
    g_ptrs = g_ptr + (start + offs_k).to(tl.int64)[:, None] * (N * G) + (group * N + offs_n)[None, :]
    left_over = B * OUT_H * OUT_W - start

    # wgmma takes 64 rows at least: of fewer columns of a patch than that the product is made transposed.
    TURNED: tl.constexpr = BLOCK_M < 64
    rows_and_columns: tl.constexpr = (BLOCK_N, BLOCK_M) if TURNED else (BLOCK_M, BLOCK_N)
    acc = tl.zeros(rows_and_columns, tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32)
    for _ in range(steps):
        mask_k = offs_k < left_over
        inside = is_inside(h[:, None] + r[None, :], w[:, None] + s[None, :], IN_H, IN_W)
        mask_x = inside & mask_m[None, :] & mask_k[:, None]
        x_rows = x_ptr + corner * C_UNIT
        x = tl.load(x_rows[:, None] + shift[None, :], mask=mask_x, other=0.0)  # [BLOCK_K, BLOCK_M]
        g = tl.load(g_ptrs, mask=mask_k[:, None] & mask_n[None, :], other=0.0)  # [BLOCK_K, BLOCK_N]
        if TURNED:
            acc = tl.dot(tl.trans(g), x, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)
        else:
            acc = tl.dot(tl.trans(x), g, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)
        g_ptrs += BLOCK_K * (N * G)
        left_over -= BLOCK_K
        w += step_w
        over = w >= end_w - left
        w -= tl.where(over, end_w, 0)
        h += step_h + tl.where(over, stride_h, 0)
        corner += step_corner + tl.where(over, carry_w, 0)
        over = h >= end_h - top
        h -= tl.where(over, end_h, 0)
        corner += tl.where(over, carry_h, 0)
    dW = tl.trans(acc) if TURNED else acc
    rows = (split * R * S * C + offs_m).to(tl.int64)
    partial_ptrs = partial_ptr + rows[:, None] * (N * G) + (group * N + offs_n)[None, :]
    tl.store(partial_ptrs, dW.to(partial_ptr.dtype.element_ty), mask=mask_m[:, None] & mask_n[None, :])


def kernel_gradient(
    x: Tensor,
    g: Tensor,
    window: Pair,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    precision: str,
    configuration: GemmConfiguration | None = None,
) -> Tensor:
    """[kh, kw, C / groups, F]: the gradient by the kernel, g being that by the result; both contiguous."""
    (batch, height, width, channels), (_, rows, columns, filters) = x.shape, g.shape
    inner, outer = channels // groups, filters // groups
    shape = (*window, inner, filters)
    pixels, patch = batch * rows * columns, math.prod(window) * inner
    if not pixels or not patch * filters:
        return x.new_zeros(shape)
    problem = KernelGradient(
        patch, outer, pixels, groups, window, strides, dilation, x.dtype, kind_of(x.dtype, precision), architecture(),
        sm_count(),
    )  # fmt: skip
    chosen = configuration or configuration_for(
        KERNEL_GRADIENT, problem, (x, g, window, strides, padding, dilation, groups, precision)
    )
    count = tiles(chosen, patch, outer)
    blocks = triton.cdiv(pixels, chosen.block_k)
    # Offsets from a program's first image are 32 bits wide: no program goes through more than 2^29 elements.
    splits, steps = splits_of(count * groups, blocks, sm_count(), triton.cdiv(x.numel(), 1 << 29), most=chosen.splits)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty((splits, *shape), dtype=x.dtype if splits == 1 else wide)
    item = x.element_size()
    c_unit, n_unit = math.gcd(inner, 16 // item), math.gcd(outer, 16 // item)
    step_i, step_j = divmod(chosen.block_k, columns)
    step_b, step_i = divmod(step_i, rows)
    kernel_gradient_kernel[(count, groups, splits)](
        partial, x, g,
        batch, height, width, rows, columns, inner // c_unit, outer // n_unit, groups, *window,
        *strides, *dilation, padding[0][0], padding[1][0], steps, step_b, step_i, step_j,
        c_unit, n_unit, precision,
        chosen.block_m, chosen.block_n, chosen.block_k, num_warps=chosen.num_warps, num_stages=chosen.num_stages,
        enable_fp_fusion=True,
    )  # fmt: skip
    return partial[0] if splits == 1 else sum_partials(partial, x.dtype)
