"""`Dropout` and `SpatialDropout1D`, `2D`, `3D`: values, or whole channels, set to zero at random."""

from __future__ import annotations

from typing import Any

from fastk import autograd, config
from fastk.graph import OpSpec
from fastk.layers.arguments import SameShapeLayer, checked_rate
from fastk.layers.input_spec import InputSpec
from fastk.random import SeedGenerator
from fastk.scopes import state


class Dropout(SameShapeLayer):
    """In training, sets a share `rate` of the values to zero and divides the others by `1 - rate`.

    Args:
        rate: the share, between 0 and 1.
        noise_shape: the shape of the mask, which broadcasts with the inputs; None entries are the input's sizes.
        seed: an integer makes the masks the same in every run.

    Source: Srivastava et al., 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    >>> import fastk
    >>> print(fastk.layers.Dropout(1.0)(fastk.ops.ones((1, 2)), training=True))
    [[0. 0.]]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = checked_rate("rate", rate)
        self.seed = seed
        self.noise_shape = _checked_noise_shape(noise_shape)
        if rate > 0:
            self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`inputs`, with values dropped in training."""
        if not training or self.rate == 0 or state.symbolic:
            return inputs
        return autograd.dropout(inputs, self.rate, self.seed_generator.next(), self._noise_shape(inputs))

    def _noise_shape(self, inputs: Any) -> tuple | None:
        return self.noise_shape

    def _graph_ops(self) -> list[OpSpec]:
        whole = type(self) is Dropout and self.noise_shape is None
        shown = {"rate": self.rate, "noise_shape": None if whole else self.noise_shape or "channels"}
        return [OpSpec("dropout", self.call, shown=shown, takes_training=True)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}


def _checked_noise_shape(noise_shape: Any) -> tuple | None:
    if noise_shape is None:
        return None
    problem = "Invalid value received for argument `noise_shape`. Expected "
    if isinstance(noise_shape, str):
        raise ValueError(f"{problem}a tuple or list of integers. Received: noise_shape={noise_shape}")
    try:
        noise_shape = tuple(noise_shape)
    except TypeError:
        raise ValueError(
            f"{problem}an iterable of integers (e.g., a tuple or list). Received: noise_shape={noise_shape}"
        ) from None
    for i, size in enumerate(noise_shape):
        if size is not None and not isinstance(size, int):
            raise ValueError(
                f"{problem}all elements to be integers or None. Received element at index {i}: {size} "
                f"(type: {type(size).__name__})"
            )
        if size is not None and size <= 0:
            raise ValueError(
                f"{problem}all dimensions to be positive integers or None. Received negative or zero value at index "
                f"{i}: {size}"
            )
    return noise_shape


class _SpatialDropout(Dropout):
    rank: int

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = config.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _noise_shape(self, inputs: Any) -> tuple:
        ones = (1,) * self.rank
        return (None, None, *ones) if self.data_format == "channels_first" else (None, *ones, None)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "rate": self.rate,
            "seed": self.seed,
            "name": self.name,
            "dtype": self.dtype,
            "data_format": self.data_format,
        }


class SpatialDropout1D(_SpatialDropout):
    """`Dropout` of whole channels of sequences `(batch, steps, channels)`.

    Args:
        rate: the share of channels.
        seed: an integer makes the masks the same in every run.
        name: the layer's name.
        dtype: the layer's dtype policy.

    Source: Tompson et al., 2015, "Efficient object localization using convolutional networks".

    >>> import fastk
    >>> fastk.layers.SpatialDropout1D(0.5)(fastk.ops.ones((2, 3, 4)), training=True).shape
    torch.Size([2, 3, 4])
    """

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None):
        super().__init__(rate, "channels_last", seed, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "data_format"}


class SpatialDropout2D(_SpatialDropout):
    """`Dropout` of whole channels of images.

    Args:
        rate: the share of channels.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.
        seed: an integer makes the masks the same in every run.
        name: the layer's name.
        dtype: the layer's dtype policy.

    >>> import fastk
    >>> fastk.layers.SpatialDropout2D(0.5)(fastk.ops.ones((2, 3, 3, 4)), training=True).shape
    torch.Size([2, 3, 3, 4])
    """

    rank = 2


class SpatialDropout3D(_SpatialDropout):
    """`Dropout` of whole channels of volumes; arguments as of `SpatialDropout2D`.

    >>> import fastk
    >>> fastk.layers.SpatialDropout3D(0.5)(fastk.ops.ones((2, 3, 3, 3, 4)), training=True).shape
    torch.Size([2, 3, 3, 3, 4])
    """

    rank = 3
