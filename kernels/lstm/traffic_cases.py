"""What the scan of an LSTM moves and multiplies: h R, step by step. The products over all steps are torch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.lstm.triton_kernels import lstm_backward, lstm_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved, product_flops

ACTIVATIONS = ("tanh", "sigmoid")


def least(name: str, arguments: tuple, results: Any) -> Least:
    """One product [B, H] x [H, 4 H] a step, forward as backward."""
    x, recurrent_kernel = (arguments[0], arguments[2]) if name == "lstm_forward" else (arguments[3], arguments[5])
    units = recurrent_kernel.size(0)
    return Least(moved(arguments, results), flops=x.size(1) * product_flops(x.size(0), 4 * units, units))


def traffic_cases() -> Iterator[TrafficCase]:
    """64 and 128 units over 8 steps."""
    for dtype in (torch.bfloat16, torch.float32):
        for B, T, inputs, H in ((64, 8, 32, 64), (64, 8, 64, 128)):
            x, kernel = torch.zeros(B, T, inputs, dtype=dtype), torch.zeros(inputs, 4 * H, dtype=dtype)
            recurrent, bias = torch.zeros(H, 4 * H, dtype=dtype), torch.zeros(4 * H, dtype=dtype)
            variant = f"{B}x{T}x{inputs} {H} units {str(dtype)[6:]}"
            forward = (x, kernel, recurrent, bias, None, None, None, *ACTIVATIONS, None, None, False, True, False, True)
            yield TrafficCase(variant, lstm_forward, forward)
            gates = torch.zeros(B, T, 4 * H, dtype=dtype)
            g, cells, previous = (torch.zeros(B, T, H, dtype=dtype) for _ in range(3))
            saved = (gates, cells, previous)
            needed = [True, True, True, True, False, False]
            backward = (g, None, None, x, kernel, recurrent, None, None, *saved, *ACTIVATIONS, None, None, False, False)
            yield TrafficCase(variant, lstm_backward, (*backward, needed))
