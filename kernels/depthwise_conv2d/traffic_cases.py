"""What a depthwise convolution moves; neighbouring programs share the pixels at their edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.depthwise_conv2d.triton_kernels import depthwise_conv2d_backward, depthwise_conv2d_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved


def least(name: str, arguments: tuple, results: Any) -> Least:
    """Backward writes the gradient before bias and activation, and reads it for dx and for dW."""
    least_bytes = moved(arguments, results)
    if name == "depthwise_conv2d_backward":
        least_bytes += 3 * moved(arguments[0])
    return Least(least_bytes, cached=True)


def traffic_cases() -> Iterator[TrafficCase]:
    """Forward and backward of a 3 x 3 window, with a bias and ReLU."""
    for dtype in (torch.bfloat16, torch.float32):
        for shape, multiplier in (((8, 28, 28, 64), 1), ((8, 28, 28, 32), 2)):
            x, kernel = torch.ones(shape, dtype=dtype), torch.ones(3, 3, shape[3], multiplier, dtype=dtype)
            filters = shape[3] * multiplier
            geometry = ((1, 1), (1, 1, 1, 1), (1, 1), "relu")
            variant = f"{'x'.join(map(str, shape))} 3x3x{multiplier} {str(dtype)[6:]}"
            bias = torch.ones(filters, dtype=dtype)
            yield TrafficCase(variant, depthwise_conv2d_forward, (x, kernel, bias, *geometry))
            g = torch.ones(*shape[:3], filters, dtype=dtype)
            backward = (g, x, kernel, g.clone(), x.new_empty(0), *geometry, [True, True, True])
            yield TrafficCase(variant, depthwise_conv2d_backward, backward)
