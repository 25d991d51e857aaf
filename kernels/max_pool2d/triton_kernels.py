"""Max pooling in one pass over x, and its gradient in one pass over dx; every element is written by one program.

    y[b, i, j, c]     = max over r < PH, s < PW of x[b, i SH + r - top, j SW + s - left, c]
    place[b, i, j, c] = r PW + s of the first maximum, of the first NaN if there is one        1 byte up to 256 places

    B batch, H, W and C rows, columns and channels of x; OH, OW rows and columns of y; PH, PW window; SH, SW strides

Backward, where windows do not overlap (PH <= SH, PW <= SW): the image is cut into cells of SH x SW pixels, of which
window (i, j) is the beginning of cell (i, j). A program reads dy and the place of its cells once and writes each pixel
of them: dy at the place, else 0. Cells without a window, and pixels beyond it, get 0, so dx needs no clearing.

Otherwise a program owns pixels and gathers: of pixel (u, v) the windows i = (u + top) // SH - k, k < ceil(PH / SH), and
j likewise, each giving dy where its place is this pixel's. The order is fixed, the sum float32: the result is the
same in every run, which sums by atomics are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.max_pool2d.configurations import BACKWARD, FORWARD, PoolConfiguration
from fastk.kernels.max_pool2d.geometry import Geometry, place_dtype
from fastk.kernels.window import Padding, Pair

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@triton.constexpr_function
def unrolled(taps):
    """How many of a loop's steps are written out: all of small windows, so that their loads start together."""
    return taps if taps <= 16 else 4


@triton.jit
def image_position(offs_p, rows, columns):
    """(image, row, column) of pixels in row-major order."""
    line = offs_p // columns
    return line // rows, line % rows, offs_p % columns


@triton.jit
def channel_block(channel_units, VEC: tl.constexpr, BLOCK_C: tl.constexpr):
    """Offsets and mask of the program's channels, of VEC * channel_units.

    The mask compares units, so that accesses stay 128 bits wide for sizes that are no multiple of 16.
    """
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    return offs_c, offs_c // VEC < channel_units


@triton.jit
def pixels_at(image, row, column, mask_p, H, W, CHECKED: tl.constexpr):
    """Index of a pixel and whether it exists; unless CHECKED, wherever mask_p holds it does."""
    inside = mask_p
    if CHECKED:
        inside = mask_p & (row >= 0) & (row < H) & (column >= 0) & (column < W)
    return (image * H + row) * W + column, inside


@triton.jit
def pixel_block(pixel, inside, offs_c, mask_c, channels):
    """Offsets and mask [BLOCK_P, BLOCK_C] of pixels' channels; in 64 bits, for images may pass 2^31 elements."""
    return pixel.to(tl.int64)[:, None] * channels + offs_c[None, :], inside[:, None] & mask_c[None, :]


@triton.jit
def window_over(u, v, up, left, SH: tl.constexpr, SW: tl.constexpr):
    """(i, j, r, s): of the windows that begin at or before padded pixel (u, v), the `up`-th and `left`-th back.

    The pixel is at row r and column s of window (i, j), if these are inside it and the window is one.
    """
    i, j = u // SH - up, v // SW - left
    return i, j, u - i * SH, v - j * SW


@triton.jit
def _better(best, place, x, tap):
    """The running maximum and where it is. A NaN beats all but a NaN."""
    better = (x > best) | ((x != x) & (best == best))
    return tl.where(better, x, best), tl.where(better, tap, place)


@triton.jit
def max_pool2d_forward_kernel(
    y_ptr, place_ptr, x_ptr,
    outputs, H, W, OH, OW, channel_units, top, left,
    PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PADDED: tl.constexpr, VEC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y [outputs, C] and, unless it is None, place."""
    ACC: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    channels = channel_units * VEC
    offs_c, mask_c = channel_block(channel_units, VEC, BLOCK_C)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < outputs
    image, i, j = image_position(offs_p, OH, OW)
    best = tl.full([BLOCK_P, BLOCK_C], float("-inf"), ACC)
    place = tl.zeros([BLOCK_P, BLOCK_C], tl.int32)
    if PADDED:  # a window of -inf alone has its maximum at its first pixel in the image
        place += (tl.maximum(top - i * SH, 0) * PW + tl.maximum(left - j * SW, 0))[:, None]
    for tap in tl.range(PH * PW, loop_unroll_factor=unrolled(PH * PW)):
        row, column = i * SH + (tap // PW - top), j * SW + (tap % PW - left)
        pixel, inside = pixels_at(image, row, column, mask_p, H, W, PADDED)
        offs, mask = pixel_block(pixel, inside, offs_c, mask_c, channels)
        x = tl.load(x_ptr + offs, mask=mask, other=float("-inf")).to(ACC)  # [BLOCK_P, BLOCK_C]
        best, place = _better(best, place, x, tap)
    offs, mask = pixel_block(offs_p, mask_p, offs_c, mask_c, channels)
    tl.store(y_ptr + offs, best.to(y_ptr.dtype.element_ty), mask=mask)
    if place_ptr is not None:
        tl.store(place_ptr + offs, place.to(place_ptr.dtype.element_ty), mask=mask)


@triton.jit
def max_pool2d_scatter_kernel(
    dx_ptr, g_ptr, place_ptr,
    cells, CH, CW, H, W, OH, OW, channel_units, top, left,
    PH: tl.constexpr, PW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PADDED: tl.constexpr, VEC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx, cell by cell: CH x CW cells of SH x SW pixels cover the image. PADDED: or reach over its borders."""
    channels = channel_units * VEC
    offs_c, mask_c = channel_block(channel_units, VEC, BLOCK_C)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < cells
    image, i, j = image_position(offs_p, CH, CW)
    output, inside = pixels_at(image, i, j, mask_p, OH, OW, PADDED)
    offs, mask = pixel_block(output, inside, offs_c, mask_c, channels)
    g = tl.load(g_ptr + offs, mask=mask, other=0.0)  # [BLOCK_P, BLOCK_C]
    place = tl.load(place_ptr + offs, mask=mask, other=0).to(tl.int32)
    for tap in tl.range(SH * SW, loop_unroll_factor=unrolled(SH * SW)):
        r, s = tap // SW, tap % SW
        pixel, inside = pixels_at(image, i * SH + (r - top), j * SW + (s - left), mask_p, H, W, PADDED)
        offs, mask = pixel_block(pixel, inside, offs_c, mask_c, channels)
        chosen = (place == r * PW + s) & (r < PH) & (s < PW)
        tl.store(dx_ptr + offs, tl.where(chosen, g, 0.0), mask=mask)


@triton.jit
def max_pool2d_gather_kernel(
    dx_ptr, g_ptr, place_ptr,
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
        place = tl.load(place_ptr + offs, mask=mask, other=0).to(tl.int32)  # [BLOCK_P, BLOCK_C]
        g = tl.load(g_ptr + offs, mask=mask, other=0.0).to(ACC)
        dx += tl.where(place == (r * PW + s)[:, None], g, 0.0)
    offs, mask = pixel_block(offs_p, mask_p, offs_c, mask_c, channels)
    tl.store(dx_ptr + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def supports(op: str, x: Tensor, window: Pair, strides: Pair, padding: Padding) -> str | None:
    """None, or why not."""
    if x.dtype not in DTYPES:
        return f"the Triton kernels of {op} take floats of 16 to 64 bits, not {x.dtype}"
    if x.size(0) * (x.size(1) + sum(padding[0])) * (x.size(2) + sum(padding[1])) >= 2**30:
        return f"the Triton kernels of {op} count pixels in 32 bits, and x of shape {tuple(x.shape)} has over 2^30"
    return None


def max_pool2d_forward(
    x: Tensor,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    save: bool,
    configuration: PoolConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """y and, to `save` for backward, the place of each maximum in its window, else an empty tensor."""
    x = x.contiguous()
    geometry = Geometry(x.shape, window, strides, padding)
    y = x.new_empty(geometry.output_shape)
    place = x.new_empty(geometry.output_shape if save else 0, dtype=place_dtype(window))
    if x.numel():
        arguments = (x, window, strides, padding, save)
        problem = geometry.problem(geometry.outputs, x.dtype)
        grid, blocks = geometry.cut(geometry.outputs, configuration or configuration_for(FORWARD, problem, arguments))
        max_pool2d_forward_kernel[grid](
            y, place if save else None, x,
            geometry.outputs, *geometry.sizes, *geometry.corner, *window, *strides, any(padding), **blocks,
        )  # fmt: skip
    return y, place


def max_pool2d_backward(
    g: Tensor,
    place: Tensor,
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
    arguments = (g, place, shape, window, strides, padding)
    chosen = configuration or configuration_for(BACKWARD, geometry.problem(geometry.moved, g.dtype), arguments)
    grid, blocks = geometry.cut(geometry.moved, chosen)
    if geometry.overlap:
        max_pool2d_gather_kernel[grid](
            dx, g, place, geometry.pixels, *geometry.sizes, *geometry.corner, *window, *strides, **blocks
        )
        return dx
    max_pool2d_scatter_kernel[grid](
        dx, g, place, geometry.cells, *geometry.cell_size, *geometry.sizes, *geometry.corner, *window, *strides,
        geometry.uncovered, **blocks,
    )  # fmt: skip
    return dx
