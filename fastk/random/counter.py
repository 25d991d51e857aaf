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
    digits = _digits(dtype)
    return _shifted(bits(shape, seed), 64 - digits).to(dtype).mul_(2.0**-digits)


def normal(shape: tuple[int, ...], seed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Standard normal numbers by the transform of Box and Muller (1958), one for each 64 bits."""
    return _normal_of(bits(shape, seed), dtype)


_ROUNDS = 10  # each is accepted with a probability of 0.95 at least: one draw in 10**13 takes what was not


def log_gamma(alpha: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """Logarithms of samples of the gamma distribution with rate 1, of the shape and dtype of `alpha` > 0.

    By the method of Marsaglia and Tsang (2000), of which a fixed number of rounds is computed at once, so that nobody
    has to look whether one was accepted. A sample for `alpha < 1` is one for `alpha + 1` times `u ** (1 / alpha)`.
    """
    words = bits((2 * _ROUNDS + 1, *alpha.shape), seed)
    x, log_u = _normal_of(words[:_ROUNDS], alpha.dtype), _log_uniform_of(words[_ROUNDS:], alpha.dtype)
    small = alpha < 1
    d = torch.where(small, alpha + 1, alpha) - 1 / 3
    log_v = (1 + x / (9 * d).sqrt()).log() * 3  # NaN, which is not accepted, where the root of v is negative
    accepted = log_u[:_ROUNDS] < 0.5 * x.square() + d * (1 - log_v.exp() + log_v)
    first = accepted.max(0, keepdim=True).indices
    log_v = log_v.gather(0, first).squeeze(0).nan_to_num()  # 0 is near the mode
    return d.log() + log_v + torch.where(small, log_u[-1] / alpha, 0.0)


def _normal_of(word: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    radius = (_shifted(word, 32) + 1).to(dtype).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = (word & 0xFFFFFFFF).to(dtype).mul_(2.0**-32 * 2.0 * math.pi)
    return angle.cos_().mul_(radius)


def _log_uniform_of(word: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Logarithms of uniform numbers on (0, 1]."""
    digits = _digits(dtype)
    return (_shifted(word, 64 - digits) + 1).to(dtype).mul_(2.0**-digits).log_()


def _digits(dtype: torch.dtype) -> int:
    return 53 if dtype is torch.float64 else 24


def _mixed(z: torch.Tensor) -> torch.Tensor:
    z = (z ^ _shifted(z, 30)) * _FACTORS[0]
    z = (z ^ _shifted(z, 27)) * _FACTORS[1]
    return z ^ _shifted(z, 31)


def _shifted(z: torch.Tensor, count: int) -> torch.Tensor:
    """`z >> count` of the 64 bits without a sign."""
    return (z >> count) & ((1 << (64 - count)) - 1)
