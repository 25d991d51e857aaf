"""Initializers that draw their values from a fixed distribution, and orthogonal matrices."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk import dtypes, random, serialization
from fastk.initializers.initializer import Initializer
from fastk.random import SeedGenerator
from fastk.random.seed_generator import make_default_seed
from fastk.scopes import state
from fastk.variable import makes_new_tensors


class RandomInitializer(Initializer):
    """Base of the initializers that draw.

    Args:
        seed: an integer or None (one drawn now): the same values at each call; a `SeedGenerator`: new ones each time.
    """

    def __init__(self, seed: int | SeedGenerator | dict | None = None):
        self._init_seed = seed
        if seed is None:
            seed = make_default_seed()
        elif isinstance(seed, dict):
            seed = serialization.deserialize_keras_object(seed)
        if not isinstance(seed, (int, SeedGenerator)):
            raise ValueError(
                "`seed` argument should be an instance of `keras.random.SeedGenerator()` or an integer. "
                f"Received: seed={seed}"
            )
        self.seed: int | SeedGenerator = seed

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": serialization.serialize_keras_object(self._init_seed)}


class RandomNormal(RandomInitializer):
    """Values from a normal distribution.

    Args:
        mean, stddev: its mean and standard deviation.
        seed: an integer, a `SeedGenerator`, or None.

    >>> from fastk import initializers
    >>> initializers.RandomNormal(stddev=0.1, seed=1)((2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Samples of the given shape."""
        return random.normal(shape, self.mean, self.stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomInitializer):
    """Values from a normal distribution, cut off at two standard deviations from its mean.

    Args:
        mean, stddev: mean and standard deviation of the distribution before the cut.
        seed: an integer, a `SeedGenerator`, or None.

    >>> from fastk import initializers
    >>> bool((initializers.TruncatedNormal(stddev=1.0, seed=1)((100,)).abs() <= 2.0).all())
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Samples of the given shape."""
        return random.truncated_normal(shape, self.mean, self.stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class RandomUniform(RandomInitializer):
    """Values from the uniform distribution on `[minval, maxval)`.

    Args:
        minval, maxval: its bounds.
        seed: an integer, a `SeedGenerator`, or None.

    >>> from fastk import initializers
    >>> bool((initializers.RandomUniform(0.0, 1.0, seed=1)((100,)) < 1.0).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Samples of the given shape."""
        return random.uniform(shape, self.minval, self.maxval, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class Orthogonal(RandomInitializer):
    """An orthogonal matrix, drawn uniformly (Haar), times `gain`.

    A weight of more than two dimensions is treated as the matrix of all but its last one by its last one. The columns
    are orthonormal, or the rows where there are more columns than rows.

    Args:
        gain: the factor.
        seed: an integer, a `SeedGenerator`, or None.

    Source: Saxe et al., 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".

    >>> from fastk import initializers
    >>> q = initializers.Orthogonal(seed=1)((3, 2))
    >>> [[round(x, 5) + 0.0 for x in row] for row in (q.T @ q).tolist()]
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, gain: float = 1.0, seed: Any = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """A matrix, reshaped to the given shape."""
        if len(shape) < 2:
            raise ValueError(
                "The tensor to initialize must be at least two-dimensional. "
                f"Received: shape={shape} of rank {len(shape)}."
            )
        torch_dtype = dtypes.to_torch_dtype(dtype)
        if state.symbolic:
            return torch.empty(tuple(shape), dtype=torch_dtype, device="meta")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        working = "float64" if torch_dtype is torch.float64 else "float32"
        q, r = torch.linalg.qr(random.normal((max(rows, columns), min(rows, columns)), dtype=working, seed=self.seed))
        # QR leaves the signs open; those of R's diagonal make Q uniform (Mezzadri, 2007).
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
        q = q if rows >= columns else q.T
        return (self.gain * q).reshape(tuple(shape)).to(torch_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "gain": self.gain}
