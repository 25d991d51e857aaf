"""Random numbers as a hash of a seed that lives on a device, which the host never reads.

Element i is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014) of `key + i * golden`, where the key is a hash
of `[seed, offset]`. A draw is a fixed sequence of torch operations, so that it can be part of a captured CUDA graph.
"""

from __future__ import annotations

import math

import torch

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64: torch's products wrap around
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def bits(shape: tuple[int, ...], seed: torch.Tensor) -> torch.Tensor:
    """64 random bits an element, as int64, on the seed's device.

    Args:
        shape: the result's shape.
        seed: `[seed, offset]`, int64.
    """
    first, offset = seed.unbind()
    key = _mixed(_mixed(first + _GOLDEN) + offset)
    index = torch.arange(math.prod(shape), device=seed.device)
    return _mixed(index.mul_(_GOLDEN).add_(key)).view(shape)


def uniform(shape: tuple[int, ...], seed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Uniform numbers on [0, 1), multiples of 2**-24 in float32 and of 2**-53 in float64."""
    digits = 53 if dtype is torch.float64 else 24
    return _shifted(bits(shape, seed), 64 - digits).to(dtype).mul_(2.0**-digits)


def normal(shape: tuple[int, ...], seed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Standard normal numbers by the transform of Box and Muller (1958), one for each 64 bits."""
    word = bits(shape, seed)
    radius = (_shifted(word, 32) + 1).to(dtype).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = (word & 0xFFFFFFFF).to(dtype).mul_(2.0**-32 * 2.0 * math.pi)
    return angle.cos_().mul_(radius)


def _mixed(z: torch.Tensor) -> torch.Tensor:
    z = (z ^ _shifted(z, 30)) * _FACTORS[0]
    z = (z ^ _shifted(z, 27)) * _FACTORS[1]
    return z ^ _shifted(z, 31)


def _shifted(z: torch.Tensor, count: int) -> torch.Tensor:
    """`z >> count` of the 64 bits without a sign."""
    return (z >> count) & ((1 << (64 - count)) - 1)
