"""What an activation moves: x and y; g, what determines the derivative, and dx."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.activation.triton_kernels import activation_backward, activation_forward
from fastk.kernels.verify.traffic import TrafficCase


def traffic_cases() -> Iterator[TrafficCase]:
    """A size divisible by 8, and a prime."""
    for dtype in (torch.bfloat16, torch.float32):
        for size in (250_000, 100_003):
            x = torch.ones(size, dtype=dtype)
            variant = f"{size} gelu {str(dtype)[6:]}"
            yield TrafficCase(variant, activation_forward, (x, "gelu"))
            yield TrafficCase(variant, activation_backward, (x, x.clone(), "gelu"))
