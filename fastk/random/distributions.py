"""Draws from the common distributions, each a function of a shape and a seed.

A seed on the CPU starts one of torch's generators. An integer seed is such a one: it gives the same numbers on every
device, those that Keras draws on the CPU with torch. The state of a `SeedGenerator` lives on the current device: on a
GPU the numbers are made from it there, without a word to the host (`counter.py`), except for `binomial`, which waits
for the device. Half-precision values are the float32 ones, rounded. While shapes are inferred
nothing is drawn and no seed is used up.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk import dtypes
from fastk.capture import host_call
from fastk.random import counter
from fastk.random.seed_generator import SeedGenerator, draw_seed, host_generator
from fastk.scopes import state
from fastk.tensor import convert_to_tensor, get_device
from fastk.variable import standardize_shape

Seed = int | SeedGenerator | None


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Seed = None) -> torch.Tensor:
    """Samples of the normal distribution.

    Args:
        shape: the result's shape.
        mean, stddev: numbers, or tensors that broadcast with `shape`.
        dtype: a float type; by default `floatx()`.
        seed: an integer (the same numbers at each call), a `SeedGenerator` (new ones at each call), or None
            for the global generator.

    >>> from fastk import random
    >>> random.normal((2, 3), seed=1).shape
    torch.Size([2, 3])
    """
    dtype, working = _float_dtypes("normal", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    start = draw_seed(seed)
    if _on_host(start):
        sample = host_call(_drawn, torch.randn, start, shape, working)
    else:
        sample = counter.normal(shape, start, working)
    return _finished(sample, dtype, stddev, mean)


def _drawn(draw: Any, start: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """What one of torch's generators gives that starts at a seed on the host."""
    return draw(shape, generator=host_generator(start), dtype=dtype, device="cpu")


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Seed = None) -> torch.Tensor:
    """Samples of the uniform distribution on `[minval, maxval)`.

    Args:
        shape: the result's shape.
        minval, maxval: numbers, or tensors that broadcast with `shape`.
        dtype: a float type; by default `floatx()`.
        seed: as in `normal`.

    >>> from fastk import random
    >>> x = random.uniform((100,), minval=2.0, maxval=3.0, seed=1)
    >>> bool(((x >= 2.0) & (x < 3.0)).all())
    True
    """
    dtype, working = _float_dtypes("uniform", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    start = draw_seed(seed)
    if _on_host(start):
        sample = host_call(_drawn, torch.rand, start, shape, working)
    else:
        sample = counter.uniform(shape, start, working)
    return _finished(sample, dtype, maxval - minval, minval)


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Seed = None
) -> torch.Tensor:
    """Samples of the normal distribution given that they lie within two standard deviations of the mean.

    Args: as in `normal`.

    >>> from fastk import random
    >>> bool((random.truncated_normal((1000,), seed=1).abs() <= 2).all())
    True
    """
    dtype, working = _float_dtypes("truncated_normal", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    start = draw_seed(seed)
    if _on_host(start):
        # As Keras draws on torch, so that weights start the same: the first of four normal numbers within the bounds.
        # One time in 230 000 there is none, and the bound takes its place.
        draws = torch.randn((*shape, 4), generator=host_generator(start), dtype=working, device="cpu")
        first = (draws.abs() < 2.0).max(-1, keepdim=True).indices
        sample = draws.gather(-1, first).squeeze(-1)
    else:  # by the inverse of the distribution function, from a single draw
        bound = math.erf(math.sqrt(2.0))
        sample = counter.uniform(shape, start, working).mul_(2.0 * bound).sub_(bound).erfinv_().mul_(math.sqrt(2.0))
    return _finished(sample.clamp_(-2.0, 2.0), dtype, stddev, mean)


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Seed = None) -> torch.Tensor:
    """Integers drawn uniformly from `minval`, ..., `maxval - 1`.

    Args:
        shape: the result's shape.
        minval, maxval: the least value, and one more than the greatest.
        dtype: an integer type.
        seed: as in `normal`.

    >>> from fastk import random
    >>> sorted(set(random.randint((100,), 0, 3, seed=1).tolist()))
    [0, 1, 2]
    """
    if not dtypes.is_int_dtype("int32" if dtype is None else dtype):
        raise ValueError(f"`keras.random.randint` requires an integer `dtype`. Received: dtype={dtype}")
    torch_dtype = dtypes.to_torch_dtype("int32" if dtype is None else dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, torch_dtype)
    low, high, start = int(minval), int(maxval), draw_seed(seed)
    if _on_host(start):
        sample = torch.randint(low, high, shape, generator=host_generator(start), dtype=torch_dtype, device="cpu")
    else:
        sample = counter.uniform(shape, start, torch.float64).mul_(high - low).floor_().add_(low)
    return _finished(sample, torch_dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Seed = None) -> torch.Tensor:
    """Class indices drawn with the probabilities `softmax(logits)`.

    Args:
        logits: `(batch, classes)`, unnormalised log-probabilities.
        num_samples: draws per row.
        dtype: the indices' integer type.
        seed: as in `normal`.

    Returns:
        `(batch, num_samples)`.

    >>> from fastk import random
    >>> random.categorical([[0.0, 100.0, 0.0]], 4, seed=1).tolist()
    [[1, 1, 1, 1]]
    """
    logits = convert_to_tensor(logits)
    if logits.ndim != 2:
        raise ValueError(
            "`logits` should be a 2-D tensor with shape [batch_size, num_classes]. "
            f"Received: logits with shape {tuple(logits.shape)}"
        )
    torch_dtype = dtypes.to_torch_dtype("int32" if dtype is None else dtype)
    if state.symbolic:
        return _meta((logits.shape[0], num_samples), torch_dtype)
    start, working = draw_seed(seed), torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits.to(start.device, working).softmax(-1)
    if _on_host(start):
        sample = torch.multinomial(probabilities, num_samples, True, generator=host_generator(start))
        return _finished(sample, torch_dtype)
    steps = probabilities.double().cumsum(-1)
    height = counter.uniform((logits.shape[0], num_samples), start, torch.float64) * steps[:, -1:]
    return _finished(torch.searchsorted(steps, height, right=True), torch_dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Seed = None) -> torch.Tensor:
    """`inputs` with a share `rate` of its elements set to zero and the others divided by `1 - rate`.

    Args:
        inputs: a tensor.
        rate: the probability of being dropped, between 0 and 1.
        noise_shape: the shape of the mask, which broadcasts with `inputs`; None entries are the input's sizes.
        seed: as in `normal`.

    Source: Srivastava et al., 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    >>> from fastk import random
    >>> sorted(set(random.dropout([1.0] * 100, rate=0.5, seed=1).tolist()))
    [0.0, 2.0]
    """
    inputs = convert_to_tensor(inputs)
    if not 0.0 <= rate <= 1.0:
        raise ValueError(
            f"Invalid value received for argument `rate`. Expected a float between 0 and 1. Received: rate={rate}"
        )
    if rate == 0.0 or state.symbolic:
        return inputs
    if rate == 1.0:
        return torch.zeros_like(inputs)
    keep = uniform(_noise_shape(inputs.shape, noise_shape), dtype="float32", seed=seed) >= rate
    return torch.where(keep, inputs / (1.0 - rate), 0.0)


def shuffle(x: Any, axis: int = 0, seed: Seed = None) -> torch.Tensor:
    """`x` with its slices along `axis` in a random order; each slice stays whole.

    >>> from fastk import random
    >>> random.shuffle([[1, 1], [2, 2], [3, 3]], seed=0).tolist()
    [[3, 3], [1, 1], [2, 2]]
    """
    x = convert_to_tensor(x)
    if state.symbolic:
        return _meta(tuple(x.shape), x.dtype)
    start, count = draw_seed(seed), x.shape[axis]
    if _on_host(start):
        order = torch.randperm(count, generator=host_generator(start), device="cpu")
    else:
        order = counter.bits((count,), start).argsort()
    return x.index_select(axis, order.to(x.device))


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Seed = None) -> torch.Tensor:
    """Samples of the gamma distribution with rate 1.

    Args:
        shape: the result's shape.
        alpha: the distribution's shape parameter, broadcast to `shape`.
        dtype: a float type; by default `floatx()`.
        seed: as in `normal`.

    >>> from fastk import random
    >>> bool((random.gamma((10,), alpha=2.0, seed=1) > 0).all())
    True
    """
    dtype, working = _float_dtypes("gamma", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    start = draw_seed(seed)
    alpha = _parameter(alpha, shape, working, start.device)
    if _on_host(start):
        sample = torch._standard_gamma(alpha, generator=host_generator(start))
    else:
        sample = counter.log_gamma(alpha, start).exp()
    # A small alpha underflows to 0, which the distribution does not contain.
    return _finished(sample.clamp_min(torch.finfo(dtype).tiny), dtype)


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Seed = None) -> torch.Tensor:
    """Numbers of successes in `counts` trials that each succeed with the given probability.

    Args:
        shape: the result's shape.
        counts: non-negative numbers of trials, broadcast to `shape`.
        probabilities: between 0 and 1, broadcast to `shape`.
        dtype: a float type; by default `floatx()`.
        seed: as in `normal`.

    >>> from fastk import random
    >>> random.binomial((3,), counts=5, probabilities=1.0, seed=1).tolist()
    [5.0, 5.0, 5.0]
    """
    dtype, working = _float_dtypes("binomial", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    generator = host_generator(draw_seed(seed))
    counts = _parameter(counts, shape, working, generator.device)
    probabilities = _parameter(probabilities, shape, working, generator.device)
    return _finished(torch.binomial(counts, probabilities, generator=generator), dtype)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Seed = None) -> torch.Tensor:
    """Samples of the beta distribution.

    Args:
        shape: the result's shape.
        alpha, beta: the two positive parameters, broadcast to `shape`.
        dtype: a float type; by default `floatx()`.
        seed: as in `normal`.

    >>> from fastk import random
    >>> x = random.beta((10,), alpha=2.0, beta=3.0, seed=1)
    >>> bool(((x >= 0) & (x <= 1)).all())
    True
    """
    dtype, working = _float_dtypes("beta", dtype)
    shape = concrete_shape(shape)
    if state.symbolic:
        return _meta(shape, dtype)
    start = draw_seed(seed)
    pair = torch.stack([_parameter(p, shape, working, start.device) for p in (alpha, beta)], dim=-1)
    # The beta distribution is the first coordinate of a Dirichlet one of two: the share of one of two gamma samples.
    if _on_host(start):
        return _finished(torch._sample_dirichlet(pair, generator=host_generator(start))[..., 0], dtype)
    first, second = counter.log_gamma(pair, start).unbind(-1)
    return _finished((first - second).sigmoid(), dtype)


def _on_host(seed: torch.Tensor) -> bool:
    return seed.is_cpu


def _float_dtypes(function: str, dtype: Any) -> tuple[torch.dtype, torch.dtype]:
    """The result's dtype, and the one that is drawn in."""
    if dtype is not None and not dtypes.is_float_dtype(dtype):
        raise ValueError(f"`keras.random.{function}` requires a floating point `dtype`. Received: dtype={dtype} ")
    torch_dtype = dtypes.to_torch_dtype(dtype)
    return torch_dtype, torch.float64 if torch_dtype is torch.float64 else torch.float32


def concrete_shape(shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple of non-negative integers."""
    sizes = standardize_shape(shape)
    if None in sizes:
        raise ValueError(f"Values need a shape without unknown sizes (None). Received: shape={shape}")
    return sizes  # pyright: ignore[reportReturnType]


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _parameter(value: Any, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if isinstance(value, (int, float)):
        return torch.full(shape, float(value), dtype=dtype, device=device)  # no copy from the host
    return convert_to_tensor(value).to(device, dtype).broadcast_to(shape)


def _finished(sample: torch.Tensor, dtype: torch.dtype, scale: Any = 1.0, offset: Any = 0.0) -> torch.Tensor:
    """`sample * scale + offset` in `dtype`, on the current device; `sample`, which nobody else has, may be overwritten.

    Drawing large weights is bound by memory that is touched for the first time: two more tensors took a third of the
    time of making a ResNet50.
    """
    sample = sample.to(get_device())
    if not isinstance(scale, (int, float)):
        sample = sample * scale
    elif scale != 1:
        sample.mul_(scale)
    if not isinstance(offset, (int, float)):
        sample = sample + offset
    elif offset != 0:
        sample.add_(offset)
    return sample.to(dtype)


def _noise_shape(shape: torch.Size, noise_shape: Any) -> tuple[int, ...]:
    if noise_shape is None:
        return tuple(shape)
    if len(noise_shape) != len(shape):
        raise ValueError(
            f"`noise_shape` must have an entry for each of the input's {len(shape)} dimensions. "
            f"Received: noise_shape={tuple(noise_shape)} for inputs of shape {tuple(shape)}"
        )
    return tuple(size if given is None else given for given, size in zip(noise_shape, shape, strict=True))
