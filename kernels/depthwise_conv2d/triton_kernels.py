"""depthwise_conv2d in Triton: y = activation(z + bias), z being the correlation of each channel with its M filters.

    z[b, i, j, c M + m] = sum over r, s of x[b, i sh + r dh - top, j sw + s dw - left, c] W[r, s, c, m]

No tensor core can help where a channel meets no other, so that this is a stencil over registers (`triton_stencil`):
forward with bias and activation at its end, the gradient by the input as the same stencil backwards. Saved is the
result, or z where the activation's derivative needs it, as in `kernels.conv2d.triton_kernels`.

    gz = g f'(y or z), db = sum over pixels of gz             one pass over g
    dx[h, w, c] = sum over r, s, m of gz[..] W[r, s, c, m]    gathered: no two programs write one element
    dW[r, s, c, m] = sum over pixels of x[..] gz[..]          a partial sum a program, then their sum in a fixed order
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.activation import saves_input
from fastk.kernels.conv2d.triton_kernels import epilogue_gradient
from fastk.kernels.depthwise_conv2d.configurations import (
    KERNEL_GRADIENT,
    TUNABLE,
    Stencil,
    StencilConfiguration,
    share_out,
)
from fastk.kernels.depthwise_conv2d.triton_stencil import stencil_kernel, stencil_kernel_gradient_kernel
from fastk.kernels.triton_reduction import sum_partials
from fastk.kernels.triton_runtime import INTERPRETED, architecture, launch_without_spills, sm_count
from fastk.kernels.window import Padding, Pair, output_size

_LARGEST = 1 << 30  # elements whose number, and that of the padding around them, 32 bits hold
# A large window takes all registers, and with one limit or another ptxas spills 8 bytes.
_REGISTER_LIMITS = (None, 248, 240, 224)
_MOST_TAPS = 128  # windows are unrolled: 11 x 11 compiles in seconds, 31 x 31 does not


def supports(
    op: str,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    activation: str | None,
) -> str | None:
    """None, or a sentence saying why not."""
    if x.dtype == torch.float64 and not INTERPRETED:
        return "the Triton stencil holds float32 sums in its registers, and twice as wide ones do not fit"
    taps, phases = kernel.size(0) * kernel.size(1), strides[0] * strides[1]
    if taps > _MOST_TAPS or phases > 16 or math.prod(dilation) > 64:
        return (
            f"the Triton stencil is unrolled for windows of up to {_MOST_TAPS} taps, strides of 4 and dilations of 8, "
            f"not for {kernel.size(0)}x{kernel.size(1)}, strides={strides}, dilation={dilation}"
        )
    (top, bottom), (left, right) = padding
    area = (x.size(1) + top + bottom) * (x.size(2) + left + right)
    if max(area * kernel.size(2) * kernel.size(3), area * x.size(0)) >= _LARGEST:
        return f"one image or the pixels of the batch are 2^30 elements or more (x: {tuple(x.shape)})"
    return None


def depthwise_conv2d_forward(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str | None,
    configuration: StencilConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """(y, z); padding is (top, bottom, left, right), and z is empty where the activation's derivative needs none."""
    x, kernel = x.contiguous(), kernel.contiguous()
    top, bottom, left, right = padding
    window, steps, reach = (kernel.size(0), kernel.size(1)), (strides[0], strides[1]), (dilation[0], dilation[1])
    size = output_size((x.size(1), x.size(2)), window, steps, reach, ((top, bottom), (left, right)))
    y = x.new_empty((x.size(0), *size, kernel.size(2) * kernel.size(3)))
    z = torch.empty_like(y) if saves_input(activation) else None
    stencil(y, z, x, kernel, bias, steps, (top, left), reach, activation, False, configuration)
    return y, x.new_empty(0) if z is None else z


def depthwise_conv2d_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    y: Tensor,
    saved: Tensor,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str | None,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dW, db) for those of x, kernel and bias that are `needed`; the others are empty."""
    gz, db = epilogue_gradient(g, saved if saves_input(activation) else y, activation, needed[2])
    steps, corner, reach = (strides[0], strides[1]), (padding[0], padding[2]), (dilation[0], dilation[1])
    dx, dW = x.new_empty(0), x.new_empty(0)
    if needed[0]:
        dx = depthwise_input_gradient(gz, x, kernel.contiguous(), steps, corner, reach)
    if needed[1]:
        dW = depthwise_kernel_gradient(gz, x.contiguous(), kernel, steps, corner, reach)
    return dx, dW, db


def depthwise_input_gradient(
    gz: Tensor,
    x: Tensor,
    kernel: Tensor,
    strides: Pair,
    corner: Pair,
    dilation: Pair,
    configuration: StencilConfiguration | None = None,
) -> Tensor:
    """The gradient by x, of which the shape alone is read; corner is (top, left), gz and kernel are contiguous."""
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    stencil(dx, None, gz, kernel, None, strides, corner, dilation, None, True, configuration)
    return dx


def stencil(
    y, z, x, kernel, bias, strides, corner, dilation, activation, gradient, configuration=None
):  # fmt: skip
    """The stencil of a result y, forward or (x being g, y being dx) backward."""
    if not y.numel():
        return
    (kh, kw, channels, multiplier), item = kernel.shape, x.element_size()
    problem = Stencil(
        *y.shape, multiplier, x.dtype, (kh, kw), strides, dilation, activation, gradient, architecture(), sm_count()
    )
    arguments = (y, z, x, kernel, bias, strides, corner, dilation, activation, gradient)
    chosen = configuration or configuration_for(TUNABLE, problem, arguments)
    unit = math.gcd(channels, 16 // item)
    tiles = y.size(0) * triton.cdiv(y.size(1), chosen.rows) * triton.cdiv(y.size(2), chosen.columns)
    launch_without_spills(
        stencil_kernel, (triton.cdiv(tiles, chosen.block_p), triton.cdiv(y.size(3), chosen.block_c)),
        y, z, x, kernel, bias,
        x.size(0), x.size(1), x.size(2), y.size(1), y.size(2), channels // unit,
        unit, multiplier, kh, kw, *strides, *dilation, *corner, gradient,
        bias is not None, z is not None, activation,
        chosen.rows, chosen.columns, chosen.block_p, chosen.block_c, num_warps=chosen.num_warps, enable_fp_fusion=True,
        limits=_REGISTER_LIMITS,
    )  # fmt: skip


def depthwise_kernel_gradient(
    gz: Tensor,
    x: Tensor,
    kernel: Tensor,
    strides: Pair,
    corner: Pair,
    dilation: Pair,
    configuration: StencilConfiguration | None = None,
) -> Tensor:
    """The gradient by the kernel, of which the shape alone is read; corner is (top, left), gz and x are contiguous."""
    (kh, kw, channels, multiplier), item = kernel.shape, x.element_size()
    if not gz.numel() or not kernel.numel():
        return x.new_zeros(kernel.shape)
    filters = channels * multiplier
    problem = Stencil(
        *gz.shape, multiplier, x.dtype, (kh, kw), strides, dilation, None, False, architecture(), sm_count()
    )
    chosen = configuration or configuration_for(KERNEL_GRADIENT, problem, (gz, x, kernel, strides, corner, dilation))
    tiles_c, tiles_r = triton.cdiv(filters, chosen.block_c), triton.cdiv(kh, chosen.rows)
    positions = gz.size(0) * gz.size(1) * triton.cdiv(gz.size(2), chosen.columns)
    blocks = triton.cdiv(positions, chosen.block_p)
    chunks, steps = share_out(blocks, tiles_c * tiles_r, chosen.rows * kw * 16 // item, sm_count())
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty((chunks, *kernel.shape), dtype=wide)
    unit = math.gcd(channels, 16 // item)
    stencil_kernel_gradient_kernel[(chunks, tiles_c, tiles_r)](
        partial, x, gz,
        x.size(0), x.size(1), x.size(2), gz.size(1), gz.size(2), channels // unit, steps,
        unit, multiplier, kh, kw, *strides, *dilation, *corner, chosen.rows,
        chosen.columns, chosen.block_p, chosen.block_c, num_warps=chosen.num_warps, enable_fp_fusion=True,
    )  # fmt: skip
    return sum_partials(partial, x.dtype)
