"""`VarianceScaling` and its named cases: the variance follows from the number of inputs and outputs of a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from fastk import random
from fastk.initializers.random_initializers import RandomInitializer
from fastk.variable import makes_new_tensors

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("uniform", "truncated_normal", "untruncated_normal")
# The standard deviation of a unit normal distribution cut off at -2 and 2.
TRUNCATED_STDDEV = math.sqrt(1.0 - 4.0 * math.exp(-2.0) / (math.sqrt(2.0 * math.pi) * math.erf(math.sqrt(2.0))))


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """The numbers of inputs and of outputs of a weight.

    Args:
        shape: the weight's shape; a kernel is `(..., inputs, outputs)`, its leading axes being the receptive field.
        input_axes, output_axes: the axes that count the inputs and the outputs, where the weight is no such kernel.

    >>> compute_fans((3, 3, 16, 32))
    (144, 288)
    """
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(int(shape[axis]) for axis in input_axes), math.prod(int(shape[axis]) for axis in output_axes)
    if len(shape) < 2:
        size = int(shape[0]) if shape else 1
        return size, size
    field = math.prod(int(size) for size in shape[:-2])
    return field * int(shape[-2]), field * int(shape[-1])


class VarianceScaling(RandomInitializer):
    """Values of mean 0 and variance `scale / n`, n being a number of inputs and outputs of the weight.

    Args:
        scale: a positive number.
        mode: n is the number of inputs (`"fan_in"`), of outputs (`"fan_out"`) or the mean of both (`"fan_avg"`).
        distribution: `"truncated_normal"` (also `"normal"`), `"untruncated_normal"` or `"uniform"`.
        seed: an integer, a `SeedGenerator`, or None.
        input_axes, output_axes: the axes that count inputs and outputs; by default the last two, times the others.

    >>> from fastk import initializers
    >>> w = initializers.VarianceScaling(scale=2.0, distribution="uniform", seed=1)((24, 8))
    >>> bool((w.abs() <= (3 * 2.0 / 24) ** 0.5).all())
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        if scale <= 0.0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        if mode not in MODES:
            raise ValueError(f"Invalid `mode` argument: {mode}. Please use one of {MODES}")
        distribution = distribution.lower()
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"Invalid `distribution` argument: {distribution}. Please use one of {DISTRIBUTIONS}")
        super().__init__(seed)
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Samples of the given shape."""
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, stddev=stddev, dtype=dtype, seed=self.seed)
        return random.truncated_normal(shape, stddev=stddev / TRUNCATED_STDDEV, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _Named(VarianceScaling):
    """A `VarianceScaling` whose scale, mode and distribution its class fixes.

    Args:
        seed: an integer, a `SeedGenerator`, or None.
        input_axes, output_axes: as in `VarianceScaling`.
    """

    fixed: ClassVar[tuple[float, str, str]]

    def __init__(
        self, seed: Any = None, input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
    ):
        super().__init__(*self.fixed, seed=seed, input_axes=input_axes, output_axes=output_axes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {key: config[key] for key in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_Named):
    """Uniform within `sqrt(6 / (fan_in + fan_out))` of 0.

    Source: Glorot and Bengio, 2010, "Understanding the difficulty of training deep feedforward neural networks".

    >>> from fastk import initializers
    >>> bool((initializers.GlorotUniform(seed=1)((4, 2)).abs() <= 1.0).all())
    True
    """

    fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """Truncated normal with standard deviation `sqrt(2 / (fan_in + fan_out))`.

    Source: Glorot and Bengio, 2010, "Understanding the difficulty of training deep feedforward neural networks".

    >>> from fastk import initializers
    >>> bool((initializers.GlorotNormal(seed=1)((4, 2)).abs() <= 2 * (2 / 6) ** 0.5 / TRUNCATED_STDDEV).all())
    True
    """

    fixed = (1.0, "fan_avg", "truncated_normal")


class LecunNormal(_Named):
    """Truncated normal with standard deviation `sqrt(1 / fan_in)`.

    Source: Klambauer et al., 2017, "Self-normalizing neural networks".

    >>> from fastk import initializers
    >>> bool((initializers.LecunNormal(seed=1)((4, 2)).abs() <= 2 * (1 / 4) ** 0.5 / TRUNCATED_STDDEV).all())
    True
    """

    fixed = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform within `sqrt(3 / fan_in)` of 0.

    Source: LeCun et al., 1998, "Efficient BackProp".

    >>> from fastk import initializers
    >>> bool((initializers.LecunUniform(seed=1)((4, 2)).abs() <= (3 / 4) ** 0.5).all())
    True
    """

    fixed = (1.0, "fan_in", "uniform")


class HeNormal(_Named):
    """Truncated normal with standard deviation `sqrt(2 / fan_in)`.

    Source: He et al., 2015, "Delving deep into rectifiers".

    >>> from fastk import initializers
    >>> bool((initializers.HeNormal(seed=1)((4, 2)).abs() <= 2 * (2 / 4) ** 0.5 / TRUNCATED_STDDEV).all())
    True
    """

    fixed = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Named):
    """Uniform within `sqrt(6 / fan_in)` of 0.

    Source: He et al., 2015, "Delving deep into rectifiers".

    >>> from fastk import initializers
    >>> bool((initializers.HeUniform(seed=1)((4, 2)).abs() <= (6 / 4) ** 0.5).all())
    True
    """

    fixed = (2.0, "fan_in", "uniform")
