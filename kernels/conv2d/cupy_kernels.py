"""Convolution as GEMMs of cuBLAS between patches and the kernel, both as matrices; see `im2col.cu`.

    y = im2col(x) W                    W as [kh kw C / groups, F]
    dW = im2col(x)^T dz, dx = col2im(dz W^T)

and before or after them the bias and the activation, as in `kernels.dense`. The patches of all images would be kh kw
times as large as x: they are made and used in pieces of at most `_PIECE` bytes, which stay in the L2 cache of large
GPUs. A 1x1 kernel with stride 1 needs none. Groups are the batch of a GEMM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastk.kernels.cupy_epilogue import epilogue_backward, epilogue_forward
from fastk.kernels.cupy_gemm import gemm
from fastk.kernels.cupy_runtime import FLOATS, WIDTHS, Kernel, packed, tile, why_not_these, wide_type, width
from fastk.kernels.window import Padding, Pair, output_size

_IM2COL = Kernel("conv2d/im2col.cu", "im2col", FLOATS, WIDTHS)
_COL2IM = Kernel("conv2d/im2col.cu", "col2im", FLOATS, WIDTHS)
_PIECE = 32 * 2**20


def supports(
    op: str,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    activation: str | None,
) -> str | None:
    """None, or why not."""
    rows, columns = output_size((x.size(1), x.size(2)), (kernel.size(0), kernel.size(1)), strides, dilation, padding)
    return why_not_these(x.size(0) * rows * columns * kernel.size(3), x, kernel, bias)


def conv2d_forward(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str | None,
) -> tuple[Tensor, Tensor]:
    """(y, saved): saved is z + bias where backward needs it, else empty."""
    x = packed(x)
    shape = Shape.of(x, kernel, strides, padding, dilation, groups)
    z = x.new_empty(shape.batch, shape.rows, shape.columns, kernel.size(3))
    weights, pixels = shape.weights(kernel), shape.by_group(z)
    for first, last in shape.pieces(x):
        gemm(shape.patches(x, first, last), weights, pixels[:, first:last])
    return epilogue_forward(z, bias, activation, 0.0, None)


def conv2d_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    y: Tensor,
    saved: Tensor,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str | None,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dW, dbias); the ones not needed are empty."""
    dz, dbias = epilogue_backward(g, y, saved, activation, 0.0, None, needed[2])
    x = packed(x)
    shape = Shape.of(x, kernel, strides, padding, dilation, groups)
    dx = _input_gradient(shape, dz, kernel, x) if needed[0] else x.new_empty(0)
    dkernel = _kernel_gradient(shape, dz, kernel, x) if needed[1] else x.new_empty(0)
    return dx, dkernel, dbias


@dataclass(frozen=True)
class Shape:
    """The sizes of a convolution: B images [H, W, C], outputs [H', W'] (rows, columns), in the order of `im2col.cu`."""

    batch: int
    height: int
    width: int
    channels: int
    group_channels: int
    rows: int
    columns: int
    window: Pair
    strides: Pair
    dilation: Pair
    before: Pair
    plain: bool

    @classmethod
    def of(
        cls,
        x: Tensor,
        kernel: Tensor,
        strides: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Shape:
        """padding: (top, bottom, left, right)."""
        batch, height, width, channels = x.shape
        window, steps, reach = (kernel.size(0), kernel.size(1)), (strides[0], strides[1]), (dilation[0], dilation[1])
        top, bottom, left, right = padding
        size = output_size((height, width), window, steps, reach, ((top, bottom), (left, right)))
        plain = window == steps == (1, 1) and not any(padding)
        return cls(batch, height, width, channels, channels // groups, *size, window, steps, reach, (top, left), plain)

    @property
    def groups(self) -> int:
        """Into how many the channels are split."""
        return self.channels // self.group_channels if self.group_channels else 1

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return self.window[0] * self.window[1]

    @property
    def pixels(self) -> int:
        """Outputs of all images."""
        return self.batch * self.rows * self.columns

    @property
    def images(self) -> tuple[int, ...]:
        """What both kernels are told of the images: H, W, C, C / groups, H', W'."""
        return self.height, self.width, self.channels, self.group_channels, self.rows, self.columns

    def weights(self, kernel: Tensor) -> Tensor:
        """kernel [kh, kw, C / groups, F] as [groups, kh kw C / groups, F / groups], a view where it is contiguous."""
        return self.by_group(kernel.reshape(self.taps * self.group_channels, kernel.size(3)))

    def by_group(self, x: Tensor) -> Tensor:
        """[..., N] as the view [groups, rows, N / groups]."""
        columns = x.size(-1)
        rows = x.shape[:-1].numel()
        return x.reshape(rows, self.groups, columns // self.groups).transpose(0, 1)

    def pieces(self, x: Tensor) -> Iterator[Pair]:
        """(first, last) of the outputs whose patches are made at once."""
        pixel = self.taps * self.channels * x.element_size()
        step = self.pixels if self.plain else max(1, _PIECE // max(1, pixel))
        for first in range(0, self.pixels, step):
            yield first, min(first + step, self.pixels)

    def patches(self, x: Tensor, first: int, last: int) -> Tensor:
        """The patches of a piece: [groups, last - first, kh kw C / groups]."""
        if self.plain:
            return self.by_group(x)[:, first:last]
        out = x.new_empty(self.groups, last - first, self.taps * self.group_channels)
        vector = width(self.group_channels)
        _IM2COL(
            (x.dtype, vector),
            *tile(self.taps * self.channels // vector, last - first),
            *(out, x, first, last - first, *self.images, self.window[0], self.window[1]),
            *(*self.strides, *self.dilation, *self.before),
        )
        return out

    def bands(self, x: Tensor) -> Iterator[tuple[Pair, Pair]]:
        """((first, end) of input lines, (first, end) of the output lines they need), lines of all images in a row.

        Whole images, as many as fit in a piece; where one does not fit, bands of its lines.
        """
        line = self.columns * self.taps * self.channels * x.element_size()
        fit = max(1, _PIECE // max(1, line))
        if self.rows <= fit or not self.batch:
            step = max(1, fit // max(1, self.rows))
            for image in range(0, self.batch, step):
                end = min(image + step, self.batch)
                yield (image * self.height, end * self.height), (image * self.rows, end * self.rows)
            return
        # Lines h .. h + step - 1 need the outputs i with h + top - reach <= i stride <= h + step - 1 + top.
        (stride, _), reach, top = self.strides, (self.window[0] - 1) * self.dilation[0], self.before[0]
        step = max(1, (fit - 1) * stride - reach)
        for image in range(self.batch):
            for h in range(0, self.height, step):
                end = min(h + step, self.height)
                first = min(max(0, -(-(h + top - reach) // stride)), self.rows)
                last = min(max(first, (end - 1 + top) // stride + 1), self.rows)
                lines = image * self.height, image * self.rows
                yield (lines[0] + h, lines[0] + end), (lines[1] + first, lines[1] + last)


def _input_gradient(shape: Shape, dz: Tensor, kernel: Tensor, x: Tensor) -> Tensor:
    dx = torch.empty_like(x)
    weights, pixels = shape.weights(kernel).transpose(1, 2), shape.by_group(dz)
    if shape.plain:
        gemm(pixels, weights, shape.by_group(dx))
        return dx
    vector = width(shape.group_channels)
    for (first_line, end_line), (first, end) in shape.bands(x):
        rows = slice(first * shape.columns, end * shape.columns)
        columns = x.new_empty(shape.groups, rows.stop - rows.start, shape.taps * shape.group_channels)
        gemm(pixels[:, rows], weights, columns)
        _COL2IM(
            (x.dtype, vector),
            *tile(shape.width * shape.channels // vector, end_line - first_line),
            *(dx, columns, first_line, end_line - first_line, first, end - first, *shape.images, *shape.window),
            *(*shape.strides, *shape.dilation, *shape.before),
        )
    return dx


def _kernel_gradient(shape: Shape, dz: Tensor, kernel: Tensor, x: Tensor) -> Tensor:
    """The sum over the pieces, in the type of sums."""
    total = kernel.new_zeros(kernel.shape, dtype=wide_type(kernel.dtype))
    weights, pixels = shape.weights(total), shape.by_group(dz)
    for first, last in shape.pieces(x):
        gemm(shape.patches(x, first, last).transpose(1, 2), pixels[:, first:last], weights, 1.0, 1.0)
    return total.to(kernel.dtype)
