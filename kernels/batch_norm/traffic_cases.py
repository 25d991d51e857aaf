"""What batch normalisation moves: in training x has to be read for its statistics before it is normalised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.batch_norm.triton_kernels import batch_norm_backward, batch_norm_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved

ON_CHIP = 512  # rows: as many as registers hold, of which one reading is enough


def least(name: str, arguments: tuple, results: Any) -> Least:
    """In training one reading more of x, in backward of g too."""
    forward = name == "batch_norm_forward"
    x, training = (arguments[0], arguments[7]) if forward else (arguments[1], arguments[8])
    repeated = training and x.numel() // x.size(-1) > ON_CHIP
    again = moved(x) if forward else moved(*arguments[:2])
    return Least(moved(arguments, results) + repeated * again)


def traffic_cases() -> Iterator[TrafficCase]:
    """Training with rows that fit on the chip and with more, and inference."""
    for dtype in (torch.bfloat16, torch.float32):
        for R, C, training in ((512, 256, True), (16384, 64, True), (16384, 64, False)):
            x, gamma, mean = torch.ones(R, C, dtype=dtype), torch.ones(C, dtype=dtype), torch.ones(C)
            weights, statistics, rest = (gamma, gamma.clone()), (mean, mean.clone()), (1e-3, training, None, "relu")
            variant = f"{R}x{C} {'training' if training else 'inference'} {str(dtype)[6:]}"
            given = (None, None) if training else statistics
            yield TrafficCase(variant, batch_norm_forward, (x, *weights, *given, 1, *rest))
            count = torch.full((1 if training else 0,), float(R))
            backward = (x.clone(), x, *weights, *statistics, count, *rest, [True, True])
            yield TrafficCase(variant, batch_norm_backward, backward)
