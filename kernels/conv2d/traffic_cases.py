"""What a convolution moves and multiplies: one product forward, two backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.conv2d.triton_kernels import conv2d_backward, conv2d_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved, product_flops

# [B, H, W, C], filters, window, stride: of residual networks, last the first layer of one.
SIZES = (
    ((4, 28, 28, 64), 64, 3, 1),
    ((32, 28, 28, 32), 64, 3, 2),
    ((4, 28, 28, 64), 256, 1, 1),
    ((4, 32, 32, 3), 64, 3, 1),
)


def least(name: str, arguments: tuple, results: Any) -> Least:
    """Forward pixels x (R S C) x F; backward the same for dx, and for dW, where they are needed."""
    forward = name == "conv2d_forward"
    kernel, groups = (arguments[1], arguments[6]) if forward else (arguments[2], arguments[8])
    y = results[0] if forward else arguments[0]
    rows, columns, channels, filters = kernel.shape
    products = 1 if forward else sum(arguments[-1][:2])
    each = product_flops(y.numel() // filters, filters // groups, rows * columns * channels)
    return Least(moved(arguments, results), flops=products * groups * each)


def traffic_cases() -> Iterator[TrafficCase]:
    """Forward and backward of each size, with a bias and ReLU; what images are made of has no gradient."""
    for dtype, sizes in ((torch.bfloat16, SIZES), (torch.float32, SIZES[:1])):
        for shape, filters, window, stride in sizes:
            x, bias = torch.ones(shape, dtype=dtype), torch.ones(filters, dtype=dtype)
            kernel = torch.ones(window, window, shape[3], filters, dtype=dtype)
            before = (window - 1) // 2 if stride == 1 else 0
            padding = (before, window - 1 - before if stride == 1 else 1) * 2
            geometry = ((stride, stride), padding, (1, 1), 1, "relu")
            variant = f"{'x'.join(map(str, shape))} {window}x{window}x{filters} s{stride} {str(dtype)[6:]}"
            yield TrafficCase(variant, conv2d_forward, (x, kernel, bias, *geometry))
            g = torch.ones(shape[0], shape[1] // stride, shape[2] // stride, filters, dtype=dtype)
            needed = [shape[3] > 3, True, True]
            backward = (g, x, kernel, g.clone(), x.new_empty(0), *geometry, needed)
            yield TrafficCase(variant, conv2d_backward, backward)
