"""What dense moves and multiplies: one product forward, two backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.activation import saves_input
from fastk.kernels.dense.triton_kernels import dense_backward, dense_forward
from fastk.kernels.verify.traffic import MOST_FLOPS, Least, TrafficCase, moved, product_flops

# Rows, inputs, units, activation, rate: of a small MLP, of a wide one, of a transformer.
SIZES = ((256, 784, 512, "relu", 0.2), (512, 512, 512, "relu", 0.0), (256, 1024, 1024, "gelu", 0.1))


def least(name: str, arguments: tuple, results: Any) -> Least:
    """x W forward; backward g W^T and x^T g, where they are needed."""
    x, kernel = arguments[:2] if name == "dense_forward" else arguments[1:3]
    products = 1 if name == "dense_forward" else sum(arguments[-1][:2])
    K, N = kernel.shape
    return Least(moved(arguments, results), flops=products * product_flops(x.numel() // K, N, K))


def traffic_cases() -> Iterator[TrafficCase]:
    """Forward and backward of each size."""
    for dtype, sizes in ((torch.bfloat16, SIZES), (torch.float32, SIZES[:1])):
        for M, K, N, activation, rate in sizes:
            x, kernel, bias = torch.ones(M, K, dtype=dtype), torch.ones(K, N, dtype=dtype), torch.ones(N, dtype=dtype)
            seed = torch.tensor([1, 2]) if rate else None
            variant = f"{M}x{K}x{N} {activation} {rate} {str(dtype)[6:]}"
            yield TrafficCase(variant, dense_forward, (x, kernel, bias, activation, rate, seed))
            g = torch.ones(M, N, dtype=dtype)
            saved = torch.ones_like(g) if saves_input(activation) else x.new_empty(0)
            needed = [True, True, True]
            arguments = (g, x, kernel, g.clone(), saved, activation, rate, seed, needed)
            # K is a side of both products here: 784 takes 7 tiles of 128, and 13 of 64 cost more than they save.
            padded = 128 * -(-K // 128)
            yield TrafficCase(variant, dense_backward, arguments, max(MOST_FLOPS, padded / K))
