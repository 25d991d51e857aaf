"""What layer normalisation moves: x and y; g, x and dx. Programs' sums of dgamma and dbeta are the rest."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.layer_norm.triton_kernels import layer_norm_backward, layer_norm_forward
from fastk.kernels.verify.traffic import TrafficCase


def traffic_cases() -> Iterator[TrafficCase]:
    """Rows of a size divisible by 8 and not by 16, and of a prime."""
    for dtype in (torch.bfloat16, torch.float32):
        for M, N in ((4096, 1000), (4096, 257)):
            x, gamma = torch.ones(M, N, dtype=dtype), torch.ones(N, dtype=dtype)
            mean, r = torch.ones(M), torch.ones(M)
            variant = f"{M}x{N} {str(dtype)[6:]}"
            yield TrafficCase(variant, layer_norm_forward, (x, gamma, gamma.clone(), (-1,), 1e-3))
            backward = (x.clone(), x, gamma, mean, r, (-1,), [True, True])
            yield TrafficCase(variant, layer_norm_backward, backward)
