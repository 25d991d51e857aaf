"""What max pooling moves: x, y and a byte for the place of each maximum; dy, the places and dx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.max_pool2d.triton_kernels import max_pool2d_backward, max_pool2d_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved

Pair = tuple[int, int]
# [B, H, W, C], window, strides, padding: windows side by side, and overlapping ones.
SIZES: tuple[tuple[tuple[int, ...], Pair, Pair, tuple[int, ...]], ...] = (
    ((8, 32, 32, 64), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((8, 32, 32, 32), (3, 3), (2, 2), (0, 1, 0, 1)),
)


def least(name: str, arguments: tuple, results: Any) -> Least:
    """Windows that overlap share pixels."""
    window, strides = arguments[1:3] if name == "max_pool2d_forward" else arguments[3:5]
    overlap = window[0] > strides[0] or window[1] > strides[1]
    return Least(moved(arguments, results), cached=overlap)


def traffic_cases() -> Iterator[TrafficCase]:
    """Forward and backward of each size."""
    for dtype in (torch.bfloat16, torch.float32):
        for shape, window, strides, padding in SIZES:
            x = torch.ones(shape, dtype=dtype)
            variant = f"{'x'.join(map(str, shape))} {window[0]}x{window[1]} {str(dtype)[6:]}"
            yield TrafficCase(variant, max_pool2d_forward, (x, window, strides, padding, True))
            out = (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
            g, place = torch.ones(out, dtype=dtype), torch.zeros(out, dtype=torch.uint8)
            yield TrafficCase(variant, max_pool2d_backward, (g, place, shape, window, strides, padding))
