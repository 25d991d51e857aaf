"""What the scan of a GRU moves and multiplies: h R, step by step. The products over all steps are torch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.gru.configurations import COOPERATIVE
from fastk.kernels.gru.triton_kernels import gru_backward, gru_forward
from fastk.kernels.verify.traffic import Least, TrafficCase, moved, product_flops

ACTIVATIONS = ("tanh", "sigmoid", True)


def least(name: str, arguments: tuple, results: Any) -> Least:
    """One product [B, H] x [H, 3 H] a step, forward as backward."""
    x, recurrent_kernel = (arguments[0], arguments[2]) if name == "gru_forward" else (arguments[2], arguments[4])
    units = recurrent_kernel.size(0)
    return Least(moved(arguments, results), flops=x.size(1) * product_flops(x.size(0), 3 * units, units))


def traffic_cases() -> Iterator[TrafficCase]:
    """64 and 128 units over 8 steps; 256 over 4 with programs that wait, whose 16 are more than the interpreter has."""
    for dtype in (torch.bfloat16, torch.float32):
        waiting = COOPERATIVE[dtype.itemsize][0]
        for B, T, inputs, H, form in ((64, 8, 32, 64, None), (64, 8, 64, 128, None), (16, 4, 32, 256, waiting)):
            x, kernel = torch.zeros(B, T, inputs, dtype=dtype), torch.zeros(inputs, 3 * H, dtype=dtype)
            recurrent, bias = torch.zeros(H, 3 * H, dtype=dtype), torch.zeros(2, 3 * H, dtype=dtype)
            variant = f"{B}x{T}x{inputs} {H} units {str(dtype)[6:]}"
            forward = (x, kernel, recurrent, bias, None, None, *ACTIVATIONS, None, None, False, True, False, True)
            yield TrafficCase(variant, gru_forward, (*forward, form))
            saved = gru_forward(*forward)[2:]
            g = torch.zeros(B, T, H, dtype=dtype)
            backward = (g, None, x, kernel, recurrent, None, *saved, *ACTIVATIONS, None, None, False, False, False)
            yield TrafficCase(variant, gru_backward, (*backward, [True, True, True, True, False], form))
