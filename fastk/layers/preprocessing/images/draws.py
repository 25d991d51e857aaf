"""Random numbers for augmentation: hashes of a seed on the device, which neither the host nor a captured step reads.

The numbers are those of `fastk.random.counter`: the same on every device, other ones at each draw from a generator.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk.ops.image.layout import working_dtype
from fastk.random import counter
from fastk.random.seed_generator import SeedGenerator, draw_seed
from fastk.scopes import state
from fastk.tensor import get_device

Seed = SeedGenerator | int
# One proposal of the gamma distribution in twenty is refused at worst: all of these, once in 10**20 draws.
_PROPOSALS = 16


def _start(seed: Seed) -> torch.Tensor:
    return draw_seed(seed).to(get_device())


def uniform(
    shape: tuple[int, ...], low: float, high: float, seed: Seed, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Uniform on `[low, high)`."""
    if state.symbolic:
        return torch.empty(shape, dtype=dtype, device="meta")
    working = working_dtype(dtype)
    return (counter.uniform(shape, _start(seed), working) * (high - low) + low).to(dtype)


def within(shape: tuple[int, ...], limits: Any, seed: Seed, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform between two limits."""
    low, high = limits
    return uniform(shape, low, high, seed, dtype)


def normal(shape: tuple[int, ...], seed: Seed, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Standard normal."""
    if state.symbolic:
        return torch.empty(shape, dtype=dtype, device="meta")
    return counter.normal(shape, _start(seed), working_dtype(dtype)).to(dtype)


def integers(shape: tuple[int, ...], low: int, high: int, seed: Seed) -> torch.Tensor:
    """Uniform on `low`, ..., `high - 1`, int64."""
    return uniform(shape, low, high, seed, torch.float64).floor().to(torch.int64)


def permutation(size: int, seed: Seed) -> torch.Tensor:
    """The numbers from 0 to `size - 1` in a random order, int64."""
    return uniform((size,), 0.0, 1.0, seed, torch.float64).argsort()


def log_gamma(shape: tuple[int, ...], alpha: Any, seed: Seed) -> torch.Tensor:
    """Logarithms of gamma-distributed numbers, float64; `alpha` is a number or a tensor that broadcasts with `shape`.

    Source: Marsaglia and Tsang, 2000, "A simple method for generating gamma variables", for `alpha + 1`; a power of a
    uniform number takes it down to `alpha`. The logarithm does not vanish where a small `alpha` makes the number do so.
    """
    many = (*shape, _PROPOSALS)
    x = normal(many, seed, torch.float64)
    u = uniform(many, 0.0, 1.0, seed, torch.float64)
    power = uniform(shape, 0.0, 1.0, seed, torch.float64)
    alpha = alpha.double() if isinstance(alpha, torch.Tensor) else torch.full_like(power, alpha)
    d = alpha + 1.0 - 1.0 / 3.0
    v = (1.0 + x / torch.sqrt(9.0 * d)[..., None]) ** 3
    log_v = v.clamp(min=torch.finfo(torch.float64).tiny).log()
    accepted = (v > 0) & (torch.log1p(-u) < 0.5 * x**2 + d[..., None] * (1.0 - v + log_v))
    first = accepted.to(torch.int8).argmax(-1, keepdim=True)
    return d.log() + log_v.gather(-1, first).squeeze(-1) + torch.log1p(-power) / alpha


def beta(shape: tuple[int, ...], alpha: Any, dtype: torch.dtype, seed: Seed) -> torch.Tensor:
    """Beta-distributed with both parameters `alpha`: the share of one of two gamma-distributed numbers in their sum."""
    return torch.sigmoid(log_gamma(shape, alpha, seed) - log_gamma(shape, alpha, seed)).to(dtype)


def dirichlet(size: int, alpha: float, dtype: torch.dtype, seed: Seed) -> torch.Tensor:
    """(size,): shares that sum to 1, all with the parameter `alpha`."""
    return torch.softmax(log_gamma((size,), alpha, seed), dim=0).to(dtype)


def radians(angle: torch.Tensor) -> torch.Tensor:
    """An angle in degrees, in radians."""
    return angle * (math.pi / 180.0)
