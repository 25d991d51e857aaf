"""`GaussianNoise`, `GaussianDropout`, `AlphaDropout`: random numbers added to, or multiplied with, activations."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk import random
from fastk.layers.arguments import SameShapeLayer, checked_rate
from fastk.random import SeedGenerator

# The limits of SELU, which AlphaDropout keeps the mean and variance of.
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805


class GaussianNoise(SameShapeLayer):
    """In training, adds normal noise of mean 0.

    Args:
        stddev: the noise's standard deviation, between 0 and 1.
        seed: an integer makes the noise the same in every run.

    >>> import fastk
    >>> print(fastk.layers.GaussianNoise(0.1)(fastk.ops.ones((1, 2))))
    [[1. 1.]]
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.stddev = checked_rate("stddev", stddev)
        self.seed = seed
        if stddev > 0:
            self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`inputs`, with noise in training."""
        if not training or self.stddev == 0:
            return inputs
        return inputs + random.normal(
            inputs.shape, stddev=self.stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}


class GaussianDropout(SameShapeLayer):
    """In training, multiplies with normal noise of mean 1 and standard deviation `sqrt(rate / (1 - rate))`.

    Args:
        rate: as of `Dropout`, whose mean and variance the noise has.
        seed: an integer makes the noise the same in every run.

    Source: Srivastava et al., 2014, "Dropout: a simple way to prevent neural networks from overfitting", section 10.

    >>> import fastk
    >>> print(fastk.layers.GaussianDropout(0.1)(fastk.ops.ones((1, 2))))
    [[1. 1.]]
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = checked_rate("rate", rate)
        self.seed = seed
        if rate > 0:
            self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`inputs`, with noise in training."""
        if not training or self.rate == 0:
            return inputs
        stddev = math.sqrt(self.rate / (1.0 - self.rate)) if self.rate < 1 else math.inf
        return inputs * random.normal(
            inputs.shape, mean=1.0, stddev=stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


class AlphaDropout(SameShapeLayer):
    """In training, sets values to SELU's negative limit, then scales so that mean and variance stay.

    Args:
        rate: the share of values, between 0 and 1.
        noise_shape: the shape of the mask, which broadcasts with the inputs; None entries are the input's sizes.
        seed: an integer makes the masks the same in every run.

    Source: Klambauer et al., 2017, "Self-normalizing neural networks".

    >>> import fastk
    >>> print(fastk.layers.AlphaDropout(0.1)(fastk.ops.ones((1, 2))))
    [[1. 1.]]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = checked_rate("rate", rate)
        self.noise_shape = noise_shape
        self.seed = seed
        if rate > 0:
            self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`inputs`, with values dropped in training."""
        if not training or self.rate == 0:
            return inputs
        rate, low = self.rate, -_ALPHA * _SCALE
        shape = inputs.shape
        if self.noise_shape is not None:
            shape = [n if size is None else size for size, n in zip(self.noise_shape, inputs.shape, strict=True)]
        kept = random.uniform(shape, seed=self.seed_generator) >= rate
        if rate == 1:
            return torch.zeros_like(inputs)
        a = ((1 - rate) * (1 + rate * low**2)) ** -0.5
        return a * torch.where(kept, inputs, low) - a * low * rate

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}
