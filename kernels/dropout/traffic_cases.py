"""What dropout moves: x and y; the mask is made again for backward, which is the same kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.dropout.triton_kernels import dropout_backward, dropout_forward
from fastk.kernels.verify.traffic import TrafficCase


def traffic_cases() -> Iterator[TrafficCase]:
    """A size divisible by 8, and a prime."""
    for dtype in (torch.bfloat16, torch.float32):
        for size in (250_000, 100_003):
            arguments = (torch.ones(size, dtype=dtype), 0.1, torch.tensor([1, 2]), None)
            for function in (dropout_forward, dropout_backward):
                yield TrafficCase(f"{size} {str(dtype)[6:]}", function, arguments)
