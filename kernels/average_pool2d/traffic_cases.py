"""What average pooling moves: x and y; dy and dx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.average_pool2d.triton_kernels import average_pool2d_backward, average_pool2d_forward
from fastk.kernels.max_pool2d.traffic_cases import SIZES
from fastk.kernels.verify.traffic import Least, TrafficCase, moved


def least(name: str, arguments: tuple, results: Any) -> Least:
    """Windows that overlap share pixels."""
    window, strides = arguments[1:3] if name == "average_pool2d_forward" else arguments[2:4]
    overlap = window[0] > strides[0] or window[1] > strides[1]
    return Least(moved(arguments, results), cached=overlap)


def traffic_cases() -> Iterator[TrafficCase]:
    """The sizes of max pooling."""
    for dtype in (torch.bfloat16, torch.float32):
        for shape, window, strides, padding in SIZES:
            variant = f"{'x'.join(map(str, shape))} {window[0]}x{window[1]} {str(dtype)[6:]}"
            x = torch.ones(shape, dtype=dtype)
            yield TrafficCase(variant, average_pool2d_forward, (x, window, strides, padding))
            g = torch.ones(shape[0], shape[1] // 2, shape[2] // 2, shape[3], dtype=dtype)
            yield TrafficCase(variant, average_pool2d_backward, (g, shape, window, strides, padding))
