"""The hash of a counter: against the same hash in Python's integers, and as a source of random bits."""

import math

import pytest
import torch

from fastk.random import SeedGenerator, counter

MASK = 2**64 - 1
N = 40_000
SIGMAS = 5.0


def split_mix(z):
    """The finaliser of SplitMix64, in unbounded integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (1, 0), (0, 1), (123456789, 2**33), (-5, 7), (2**62, 2**62)])
def test_bits(seed, offset):
    golden = 0x9E3779B97F4A7C15
    key = split_mix((split_mix((seed + golden) & MASK) + offset) & MASK)
    expected = [split_mix((key + i * golden) & MASK) for i in range(12)]
    got = counter.bits((3, 4), torch.tensor([seed, offset]))
    assert got.shape == (3, 4) and [z & MASK for z in got.flatten().tolist()] == expected


def test_every_bit_is_set_half_the_time():
    words = counter.bits((N,), torch.tensor([7, 0]))
    shares = torch.stack([((words >> k) & 1).double().mean() for k in range(64)])
    assert (shares - 0.5).abs().max() < SIGMAS * 0.5 / math.sqrt(N)


def test_seeds_and_offsets_and_places_are_unrelated():
    # Correlations of n pairs of independent numbers have standard deviation 1 / sqrt(n).
    seeds = [[1, 0], [1, 1], [2, 0], [2, 1], [0, 1], [1, 2**32]]
    rows = [counter.normal((N,), torch.tensor(seed), torch.float64) for seed in seeds]
    rows += [rows[0].roll(1), rows[0].square() - 1]
    correlations = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert correlations.abs().max() < SIGMAS / math.sqrt(N)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_has_the_distribution_function_of_the_normal_distribution(dtype):
    x = counter.normal((N,), torch.tensor([3, 1]), dtype).double().sort().values
    exact = torch.special.ndtr(x)
    # Kolmogorov's statistic: beyond 2.5 / sqrt(n) once in 130 000 draws.
    assert (exact - (torch.arange(N) + 0.5) / N).abs().max() < 2.5 / math.sqrt(N)
    assert x.isfinite().all() and x[-1] > 3.5 and x[0] < -3.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.05, 0.7, 1.0, 2.5, 400.0])
def test_log_gamma_has_the_distribution_function_of_the_gamma_distribution(alpha, dtype):
    x = counter.log_gamma(torch.full((N,), alpha, dtype=dtype), torch.tensor([5, 2])).double().exp()
    exact = torch.special.gammainc(torch.full((N,), alpha, dtype=torch.float64), x).sort().values
    assert (exact - (torch.arange(N) + 0.5) / N).abs().max() < 2.5 / math.sqrt(N)


def test_beta_from_the_device_has_the_distribution_function_of_the_beta_distribution(monkeypatch):
    from fastk import random
    from fastk.random import distributions

    monkeypatch.setattr(distributions, "_on_host", lambda seed: False)
    # 6 x^2 - 8 x^3 + 3 x^4 is the integral of the density 12 x (1 - x)^2.
    x = random.beta((N,), alpha=2.0, beta=3.0, seed=SeedGenerator(9)).double()
    exact = (6 * x**2 - 8 * x**3 + 3 * x**4).sort().values
    assert (exact - (torch.arange(N) + 0.5) / N).abs().max() < 2.5 / math.sqrt(N)
    tiny = random.beta((1000,), alpha=1e-3, beta=1e-3, seed=SeedGenerator(9))
    assert ((tiny >= 0) & (tiny <= 1)).all()
    gamma = random.gamma((1000,), alpha=1e-3, seed=SeedGenerator(9))
    assert (gamma > 0).all()


def test_nothing_is_read_by_the_host():
    # Tensors without values would raise where a number is asked for.
    seed = torch.tensor([1, 2], device="meta")
    assert counter.log_gamma(torch.ones(5, 2, device="meta"), seed).shape == (5, 2)
    for dtype in (torch.float32, torch.float64):
        assert counter.uniform((5, 2), seed, dtype).shape == counter.normal((5, 2), seed, dtype).shape == (5, 2)


@pytest.mark.gpu
def test_a_draw_can_be_captured():
    from fastk import random

    generator = SeedGenerator(1)
    random.normal((1000,), seed=generator)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x = random.normal((1000,), seed=generator)
    graph.replay()
    first = x.clone()
    graph.replay()
    assert not torch.equal(first, x)
