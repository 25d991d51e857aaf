"""Dropout as a product with scaled noise, whose bits are drawn in `aten_bits`."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from fastk.capture import host_call
from fastk.kernels.dropout.aten_bits import device_bits, host_bits
from fastk.kernels.dropout.philox import threshold


def dropout(
    x: Tensor, rate: float, seed: Tensor | tuple[int, int] | None, noise_shape: tuple[int, ...] | None
) -> Tensor:
    """x with a share `rate` of its elements set to 0 and the others divided by 1 - rate."""
    if rate == 0.0 or seed is None:
        return x
    if rate == 1.0 or x.is_meta:
        return torch.where(torch.zeros((), dtype=torch.bool, device=x.device), x, 0.0)  # zeros with a gradient of zeros
    shape = x.shape if noise_shape is None else noise_shape
    if x.is_cpu and not torch.compiler.is_compiling() and not isinstance(x, FakeTensor):
        bits = host_call(host_bits, math.prod(shape), seed)
    else:
        bits = device_bits(math.prod(shape), seed, x.device)
    # The comparison written straight into the noise: 1M floats in 0.1 ms, through a bool tensor in 1 ms.
    noise = torch.empty(shape, dtype=x.dtype, device=x.device)
    torch.ge(bits.view(shape), threshold(rate) - 32768, out=noise)
    return x * noise.mul_(1.0 / (1.0 - rate))
