"""Max pooling as one kernel forward and one backward; see `max_pool2d.cu`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.kernels.cupy_runtime import FLOATS, WIDTHS, Kernel, packed, tile, why_not_these, width
from fastk.kernels.max_pool2d.geometry import place_dtype
from fastk.kernels.window import Padding, Pair, output_size

_PLACES = (torch.uint8, torch.int32)
_FORWARD = Kernel("max_pool2d/max_pool2d.cu", "max_pool2d_forward", FLOATS, _PLACES, WIDTHS)
_BACKWARD = Kernel("max_pool2d/max_pool2d.cu", "max_pool2d_backward", FLOATS, _PLACES, WIDTHS)


def supports(op: str, x: Tensor, window: Pair, strides: Pair, padding: Padding) -> str | None:
    """None, or why not."""
    return why_not_these(x.numel(), x)


def max_pool2d_forward(
    x: Tensor, window: Sequence[int], strides: Sequence[int], padding: Sequence[int], save: bool
) -> tuple[Tensor, Tensor]:
    """y and, to `save` for backward, the place of the maximum in each window, else an empty tensor."""
    x = packed(x)
    batch, height, columns, channels = x.shape
    size = _output_size(x, window, strides, padding)
    y = x.new_empty(batch, *size, channels)
    places = x.new_empty(y.shape if save else 0, dtype=place_dtype(window))
    vector = width(channels)
    _FORWARD(
        (x.dtype, places.dtype, vector),
        *tile(size[1] * channels // vector, batch * size[0]),
        *(y, places if save else None, x, batch * size[0], height, columns, channels, *size),
        *(*window, *strides, padding[0], padding[2]),
    )
    return y, places


def max_pool2d_backward(
    g: Tensor,
    places: Tensor,
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """The gradient of x, which is [B, H, W, C] as `shape` says."""
    g = packed(g)
    batch, height, columns, channels = shape
    dx = g.new_empty(batch, height, columns, channels)
    vector = width(channels)
    _BACKWARD(
        (g.dtype, places.dtype, vector),
        *tile(columns * channels // vector, batch * height),
        *(dx, g, places, batch * height, height, columns, channels, g.size(1), g.size(2)),
        *(*window, *strides, padding[0], padding[2]),
    )
    return dx


def _output_size(x: Tensor, window: Sequence[int], strides: Sequence[int], padding: Sequence[int]) -> Pair:
    top, bottom, left, right = padding
    return output_size(
        (x.size(1), x.size(2)),
        (window[0], window[1]),
        (strides[0], strides[1]),
        (1, 1),
        ((top, bottom), (left, right)),
    )
