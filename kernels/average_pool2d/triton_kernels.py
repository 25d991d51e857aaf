"""Average pooling in one pass over x, and its gradient in one pass over dx; every element is written by one program.

    y[b, i, j, c]  = sum over r < PH, s < PW of x[b, i SH + r - top, j SW + s - left, c] / n(i, j)
    dx[b, u, v, c] = sum over windows (i, j) that hold pixel (u, v) of dy[b, i, j, c] / n(i, j)

    n(i, j): how many pixels of window (i, j) lie in the image; B, H, W, C, OH, OW, PH, PW, SH, SW as in `max_pool2d`

Nothing is saved. Backward has the two ways of `max_pool2d`: cells where windows do not overlap, else a gather of
ceil(PH / SH) ceil(PW / SW) windows a pixel, summed in float32 in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.average_pool2d.configurations import BACKWARD, FORWARD, PoolConfiguration
from fastk.kernels.max_pool2d.geometry import Geometry
from fastk.kernels.max_pool2d.triton_kernels import (
    channel_block,
    image_position,
    pixel_block,
    pixels_at,
    supports,
    unrolled,
    window_over,
)

__all__ = ["average_pool2d_backward", "average_pool2d_forward", "supports"]


@triton.jit
def _count(i, j, H, W, top, left, PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr):
    """n(i, j); 1 where there is no such window."""
    u, v = i * SH - top, j * SW - left
    rows = tl.minimum(u + PH, H) - tl.maximum(u, 0)
    columns = tl.minimum(v + PW, W) - tl.maximum(v, 0)
    return tl.maximum(rows, 1) * tl.maximum(columns, 1)


@triton.jit
def average_pool2d_forward_kernel(
    y_ptr, x_ptr,
    outputs, H, W, OH, OW, channel_units, top, left,
    PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PADDED: tl.constexpr, VEC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y [outputs, C]."""
    ACC: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    channels = channel_units * VEC
    offs_c, mask_c = channel_block(channel_units, VEC, BLOCK_C)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < outputs
    image, i, j = image_position(offs_p, OH, OW)
    y = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    for tap in tl.range(PH * PW, loop_unroll_factor=unrolled(PH * PW)):
        row, column = i * SH + (tap // PW - top), j * SW + (tap % PW - left)
        pixel, inside = pixels_at(image, row, column, mask_p, H, W, PADDED)
        offs, mask = pixel_block(pixel, inside, offs_c, mask_c, channels)
        y += tl.load(x_ptr + offs, mask=mask, other=0.0).to(ACC)  # [BLOCK_P, BLOCK_C]
    y /= _count(i, j, H, W, top, left, PH, PW, SH, SW)[:, None].to(ACC)
    offs, mask = pixel_block(offs_p, mask_p, offs_c, mask_c, channels)
    tl.store(y_ptr + offs, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def average_pool2d_scatter_kernel(
    dx_ptr, g_ptr,
    cells, CH, CW, H, W, OH, OW, channel_units, top, left,
    PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PADDED: tl.constexpr, VEC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx, cell by cell: CH x CW cells of SH x SW pixels cover the image. PADDED: or reach over its borders."""
    ACC: tl.constexpr = tl.float64 if g_ptr.dtype.element_ty == tl.float64 else tl.float32
    channels = channel_units * VEC
    offs_c, mask_c = channel_block(channel_units, VEC, BLOCK_C)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < cells
    image, i, j = image_position(offs_p, CH, CW)
    output, inside = pixels_at(image, i, j, mask_p, OH, OW, PADDED)
    offs, mask = pixel_block(output, inside, offs_c, mask_c, channels)
    g = tl.load(g_ptr + offs, mask=mask, other=0.0).to(ACC)  # [BLOCK_P, BLOCK_C]
    g /= _count(i, j, H, W, top, left, PH, PW, SH, SW)[:, None].to(ACC)
    for tap in tl.range(SH * SW, loop_unroll_factor=unrolled(SH * SW)):
        r, s = tap // SW, tap % SW
        pixel, inside = pixels_at(image, i * SH + (r - top), j * SW + (s - left), mask_p, H, W, PADDED)
        offs, mask = pixel_block(pixel, inside, offs_c, mask_c, channels)
        dx = tl.where((r < PH) & (s < PW), g, 0.0)
        tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@triton.jit
def average_pool2d_gather_kernel(
    dx_ptr, g_ptr,
    pixels, H, W, OH, OW, channel_units, top, left,
    PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    VEC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx, pixel by pixel, each from the windows over it."""
    ACC: tl.constexpr = tl.float64 if g_ptr.dtype.element_ty == tl.float64 else tl.float32
    NH: tl.constexpr = (PH + SH - 1) // SH
    NW: tl.constexpr = (PW + SW - 1) // SW
    channels = channel_units * VEC
    offs_c, mask_c = channel_block(channel_units, VEC, BLOCK_C)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < pixels
    image, u, v = image_position(offs_p, H, W)
    dx = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    for k in tl.range(NH * NW, loop_unroll_factor=unrolled(NH * NW)):
        i, j, r, s = window_over(u + top, v + left, k // NW, k % NW, SH, SW)
        output, inside = pixels_at(image, i, j, mask_p & (r < PH) & (s < PW), OH, OW, True)
        offs, mask = pixel_block(output, inside, offs_c, mask_c, channels)
        g = tl.load(g_ptr + offs, mask=mask, other=0.0).to(ACC)  # [BLOCK_P, BLOCK_C]
        dx += g / _count(i, j, H, W, top, left, PH, PW, SH, SW)[:, None].to(ACC)
    offs, mask = pixel_block(offs_p, mask_p, offs_c, mask_c, channels)
    tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def average_pool2d_forward(
    x: Tensor,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    configuration: PoolConfiguration | None = None,
) -> Tensor:
    """y; padding is (top, bottom, left, right)."""
    x = x.contiguous()
    geometry = Geometry(x.shape, window, strides, padding)
    y = x.new_empty(geometry.output_shape)
    if x.numel():
        arguments = (x, window, strides, padding)
        problem = geometry.problem(geometry.outputs, x.dtype)
        grid, blocks = geometry.cut(geometry.outputs, configuration or configuration_for(FORWARD, problem, arguments))
        average_pool2d_forward_kernel[grid](
            y, x, geometry.outputs, *geometry.sizes, *geometry.corner, *window, *strides, any(padding), **blocks
        )
    return y


def average_pool2d_backward(
    g: Tensor,
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    configuration: PoolConfiguration | None = None,
) -> Tensor:
    """The gradient of x, which is [B, H, W, C] as `shape` says."""
    g = g.contiguous()
    geometry = Geometry(shape, window, strides, padding)
    dx = g.new_empty(tuple(shape))
    if not dx.numel():
        return dx
    arguments = (g, shape, window, strides, padding)
    chosen = configuration or configuration_for(BACKWARD, geometry.problem(geometry.moved, g.dtype), arguments)
    grid, blocks = geometry.cut(geometry.moved, chosen)
    if geometry.overlap:
        average_pool2d_gather_kernel[grid](
            dx, g, geometry.pixels, *geometry.sizes, *geometry.corner, *window, *strides, **blocks
        )
        return dx
    average_pool2d_scatter_kernel[grid](
        dx, g, geometry.cells, *geometry.cell_size, *geometry.sizes, *geometry.corner, *window, *strides,
        geometry.uncovered, **blocks,
    )  # fmt: skip
    return dx
