"""Dropout as a product with scaled noise.

On the CPU the noise comes from a generator seeded with a hash of (seed, offset), 16 random bits an element: the drop
probability is a multiple of 2^-16. For 1M floats on one thread: 1.4 ms, F.dropout 12.9 ms, `torch.rand < keep` 3.6 ms.
Elsewhere it is a hash of the element's index and the seed, in torch's integer ops, so that a seed that lives on the
device is never read by the host.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF
_local = threading.local()


def dropout(
    x: Tensor, rate: float, seed: Tensor | tuple[int, int] | None, noise_shape: tuple[int, ...] | None
) -> Tensor:
    """x with a share `rate` of its elements set to 0 and the others divided by 1 - rate."""
    if rate == 0.0 or seed is None:
        return x
    if rate == 1.0 or x.is_meta:
        return torch.zeros_like(x)
    shape = x.shape if noise_shape is None else noise_shape
    bits = _bits_cpu(shape, seed) if x.is_cpu else _bits_counter(shape, seed, x.device)
    # The comparison written straight into the noise: bool to float takes half as long as drawing the bits.
    noise = torch.empty(shape, dtype=x.dtype, device=x.device)
    torch.ge(bits, min(round(rate * 65536) - 32768, 32767), out=noise)
    return x * noise.mul_(1.0 / (1.0 - rate))


def _bits_cpu(shape: tuple[int, ...], seed: Tensor | tuple[int, int]) -> Tensor:
    """Uniform int16 of a shape, four to a 64-bit draw."""
    generator = getattr(_local, "generator", None)
    if generator is None:
        generator = _local.generator = torch.Generator()
    first, offset = seed.tolist() if isinstance(seed, Tensor) else seed
    generator.manual_seed(_mix(first, offset))
    count = math.prod(shape)
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return draws.view(torch.int16)[:count].view(shape)


def _mix(seed: int, offset: int) -> int:
    """32 well-mixed bits of two integers (torch's CPU generator takes no more): the finaliser of SplitMix64."""
    z = (seed * 0x9E3779B97F4A7C15 + offset * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return (z ^ (z >> 31)) & _MASK32


def _bits_counter(shape: tuple[int, ...], seed: Tensor | tuple[int, int], device: torch.device) -> Tensor:
    """Uniform integers in [-2^15, 2^15): a hash of index, seed and offset, without a host read."""
    first, offset = seed.to(device).unbind() if isinstance(seed, Tensor) else seed
    key = _hash32(first + _hash32(offset + _hash32(offset >> 32)) + (first >> 32))
    bits = _hash32(torch.arange(math.prod(shape), device=device) + key)
    return (bits >> 16).sub_(32768).view(shape)


def _hash32(x: Any) -> Any:
    """A hash of the low 32 bits of an int64 tensor or an int (C. Wellons, lowbias32)."""
    x = x & _MASK32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK32
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK32
    return x ^ (x >> 16)
