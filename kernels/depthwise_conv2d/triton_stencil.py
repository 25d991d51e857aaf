"""Depthwise correlation in Triton as a stencil over registers, and its gradient by the input, channels last.

    forward    y[i, j, n]  = sum over r, s of x[i sh + r dh - top, j sw + s dw - left, n // M] W[r, s, n]
    gradient   dx[h, w, c] = sum over r, s, m of g[(h + top - r dh) / sh, (w + left - s dw) / sw, n] W[r, s, n]
               with n = c M + m, over the r and s for which both divisions have no remainder

    C channels     M filters a channel     N = C M     P positions: tiles of ROWS x COLUMNS pixels of the result

Two bytes in, two out and R S multiplications: the kernel is bound by memory, and before that by how many loads it
issues. So a thread computes ROWS x COLUMNS neighbouring pixels of a few channels, and loads each pixel that any of them
needs once: (ROWS + R - 1)(COLUMNS + S - 1) loads with stride 1, in place of ROWS COLUMNS R S. What neighbouring threads
load too comes from the L1 cache. Window, strides, dilation and padding are known to the compiler: which tap joins which
pixel of the tile to which is decided there, in the gradient also which divide without remainder, tiles beginning at
multiples of the strides.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastk.kernels.activation.triton_kernels import activate, compute_type
from fastk.kernels.conv2d.triton_correlation import is_inside


@triton.constexpr_function
def tap_between(pixel, reached, window, stride, dilation, before, gradient):
    """The tap through which a pixel of the tile meets a reached one, both counted from their corners; -1 for none."""
    distance = pixel + before - reached * stride if gradient else reached + before - pixel * stride
    tap, rest = divmod(distance, dilation)
    return tap if rest == 0 and 0 <= tap < window else -1


@triton.constexpr_function
def first_reached(window, stride, dilation, before, gradient):
    """The first row (or column) that a tile reaches, from the tile's corner on."""
    return -(((window - 1) * dilation - before) // stride) if gradient else -before


@triton.constexpr_function
def end_reached(extent, window, stride, dilation, before, gradient):
    """One after the last row (or column) that a tile of `extent` reaches."""
    if gradient:
        return (extent - 1 + before) // stride + 1
    return (extent - 1) * stride + (window - 1) * dilation - before + 1


# Pixels that a tile meets, beyond which their loads are not to be moved before all sums: of a 7 x 7 window a thread
# would keep 24 to 56 bytes of them in local memory.
MOST_AHEAD = tl.constexpr(48)


@triton.jit
def load_tile_pixel(x_ptr, image, h, w, channel, mask, IN_H, IN_W, CHANNELS):
    """x[image, h, w, channel] for each position, 0 outside the image."""
    inside = is_inside(h, w, IN_H, IN_W)
    offs = image.to(tl.int64) * (IN_H * IN_W * CHANNELS) + (h * IN_W + w) * CHANNELS
    x = tl.load(x_ptr + offs[:, None] + channel[None, :], mask=inside[:, None] & mask, other=0.0)
    return compute_type(x)  # [BLOCK_P, BLOCK_C]


@triton.jit
def stencil_kernel(
    y_ptr, z_ptr, x_ptr, kernel_ptr, bias_ptr, B, IN_H, IN_W, OUT_H, OUT_W, C_UNITS,
    C_UNIT: tl.constexpr, M: tl.constexpr, R: tl.constexpr, S: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr, GRADIENT: tl.constexpr,
    HAS_BIAS: tl.constexpr, SAVES_Z: tl.constexpr, ACTIVATION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """BLOCK_P tiles of the result by BLOCK_C of its channels (N of them forward, C in the gradient)."""
    C = C_UNITS * C_UNIT
    tiles_h, tiles_w = tl.cdiv(OUT_H, ROWS), tl.cdiv(OUT_W, COLUMNS)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    image, tile_h, tile_w = offs_p // tiles_w // tiles_h, offs_p // tiles_w % tiles_h, offs_p % tiles_w
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    FILTERS: tl.constexpr = M if GRADIENT else 1  # taps of the reduction at one pixel
    channels_in = C * M if GRADIENT else C
    channels_out = C if GRADIENT else C * M
    mask_c = channel < channels_out
    mask = (image < B)[:, None] & mask_c[None, :]

    if GRADIENT:
        h0, w0 = tile_h * (ROWS // SH), tile_w * (COLUMNS // SW)
    else:
        h0, w0 = tile_h * (ROWS * SH), tile_w * (COLUMNS * SW)
    FIRST_H: tl.constexpr = first_reached(R, SH, DH, TOP, GRADIENT)
    FIRST_W: tl.constexpr = first_reached(S, SW, DW, LEFT, GRADIENT)
    END_H: tl.constexpr = end_reached(ROWS, R, SH, DH, TOP, GRADIENT)
    END_W: tl.constexpr = end_reached(COLUMNS, S, SW, DW, LEFT, GRADIENT)

    start = tl.zeros((BLOCK_P, BLOCK_C), tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32)
    if HAS_BIAS:
        start += tl.load(bias_ptr + channel, mask=mask_c, other=0.0).to(start.dtype)[None, :]
    acc = ()
    for _ in tl.static_range(ROWS * COLUMNS):
        acc = acc + (start,)  # noqa: RUF005  Triton unpacks no tuples
    for m in tl.static_range(FILTERS):
        n = channel * M + m if GRADIENT else channel
        for a in tl.static_range(FIRST_H, END_H):
            if a > FIRST_H and (END_H - FIRST_H) * (END_W - FIRST_W) > MOST_AHEAD:
                tl.debug_barrier()  # the loads of this row stay behind it
            for e in tl.static_range(FIRST_W, END_W):
                x = load_tile_pixel(
                    x_ptr, image, h0 + a, w0 + e, n if GRADIENT else channel // M, mask, IN_H, IN_W, channels_in
                )
                sums = ()
                for t in tl.static_range(ROWS * COLUMNS):
                    total = acc[t]
                    r = tap_between(t // COLUMNS, a, R, SH, DH, TOP, GRADIENT)
                    s = tap_between(t % COLUMNS, e, S, SW, DW, LEFT, GRADIENT)
                    if r >= 0 and s >= 0:
                        weights = tl.load(kernel_ptr + (r * S + s) * (C * M) + n, mask=mask_c, other=0.0)  # [BLOCK_C]
                        total += x * compute_type(weights)[None, :]
                    sums = sums + (total,)  # noqa: RUF005
                acc = sums

    pixels = image.to(tl.int64) * OUT_H * OUT_W + tile_h * ROWS * OUT_W + tile_w * COLUMNS
    # All of z is stored before any of y is computed: erf branches, and the sums of later pixels would be moved behind
    # the branches of earlier ones, with all their inputs kept until then (7 x 7, gelu: 9.5 KB spilt).
    if SAVES_Z:
        for t in tl.static_range(ROWS * COLUMNS):
            inside = (tile_h * ROWS + t // COLUMNS < OUT_H) & (tile_w * COLUMNS + t % COLUMNS < OUT_W)
            offs = (pixels + (t // COLUMNS * OUT_W + t % COLUMNS))[:, None] * channels_out + channel[None, :]
            tl.store(z_ptr + offs, acc[t].to(z_ptr.dtype.element_ty), mask=mask & inside[:, None])
    for t in tl.static_range(ROWS * COLUMNS):
        inside = (tile_h * ROWS + t // COLUMNS < OUT_H) & (tile_w * COLUMNS + t % COLUMNS < OUT_W)
        offs = (pixels + (t // COLUMNS * OUT_W + t % COLUMNS))[:, None] * channels_out + channel[None, :]
        y = activate(acc[t], ACTIVATION).to(y_ptr.dtype.element_ty)
        tl.store(y_ptr + offs, y, mask=mask & inside[:, None])


@triton.jit
def stencil_kernel_gradient_kernel(
    partial_ptr, x_ptr, g_ptr, B, IN_H, IN_W, OUT_H, OUT_W, C_UNITS, steps,
    C_UNIT: tl.constexpr, M: tl.constexpr, R: tl.constexpr, S: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr, WINDOW_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over `steps` blocks of positions (1 x COLUMNS pixels of g) of x g, for WINDOW_ROWS rows of the window."""
    N = C_UNITS * C_UNIT * M
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first_r = tl.program_id(2) * WINDOW_ROWS
    mask_c = channel < N
    tiles_w = tl.cdiv(OUT_W, COLUMNS)
    LAST: tl.constexpr = (COLUMNS - 1) * SW + (S - 1) * DW

    acc = ()
    for _ in tl.static_range(WINDOW_ROWS * S):
        acc = acc + (tl.zeros((BLOCK_P, BLOCK_C), partial_ptr.dtype.element_ty),)  # noqa: RUF005
    for step in range(steps):
        offs_p = (tl.program_id(0) * steps + step) * BLOCK_P + tl.arange(0, BLOCK_P)
        image, i, j = offs_p // tiles_w // OUT_H, offs_p // tiles_w % OUT_H, offs_p % tiles_w * COLUMNS
        mask = (image < B)[:, None] & mask_c[None, :]
        g = ()
        for v in tl.static_range(COLUMNS):
            g = g + (load_tile_pixel(g_ptr, image, i, j + v, channel, mask, OUT_H, OUT_W, N),)  # noqa: RUF005
        for q in tl.static_range(WINDOW_ROWS):
            h = i * SH + (first_r + q) * DH - TOP
            for e in tl.static_range(LAST + 1):
                x = load_tile_pixel(
                    x_ptr, image, h, j * SW + (e - LEFT), channel // M, mask, IN_H, IN_W, C_UNITS * C_UNIT
                )
                sums = ()
                for t in tl.static_range(WINDOW_ROWS * S):
                    total = acc[t]
                    for v in tl.static_range(COLUMNS):
                        if t // S == q and v * SW + t % S * DW == e:
                            total += x * g[v]
                    sums = sums + (total,)  # noqa: RUF005
                acc = sums
    for t in tl.static_range(WINDOW_ROWS * S):
        row = first_r + t // S
        offs = (tl.program_id(0) * (R * S) + row * S + t % S) * N + channel
        tl.store(partial_ptr + offs, tl.sum(acc[t], 0), mask=mask_c & (row < R))
