"""`AdaptiveAveragePooling` and `AdaptiveMaxPooling`, `1D`, `2D` and `3D`: pooling to a given size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch.nn import functional

from fastk import config
from fastk.layers.layer import Layer
from fastk.layers.windows import joined_shape, split_shape


class _AdaptivePooling(Layer):
    rank: ClassVar[int]
    pool: ClassVar[Callable]

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        sizes = (output_size,) * self.rank if isinstance(output_size, int) else output_size
        if not isinstance(sizes, (tuple, list)):
            raise TypeError(
                f"`output_size` must be an integer or a tuple of {self.rank} integers. "
                f"Received: {output_size} of type {type(output_size)}"
            )
        if len(sizes) != self.rank:
            # Keras raises a TypeError where there are several axes.
            raise (ValueError if self.rank == 1 else TypeError)(
                f"For {self.rank}D input, `output_size` tuple must have length {self.rank}. Received: {output_size} "
                f"of type {type(output_size)}"
            )
        self.output_size = tuple(sizes)
        self.data_format = config.standardize_data_format(data_format)
        self._channels_first = self.data_format == "channels_first"

    def call(self, inputs: Any) -> Any:
        """`inputs`, pooled."""
        pool = type(self).pool
        if self._channels_first:
            return pool(inputs, self.output_size)
        return pool(inputs.movedim(-1, 1), self.output_size).movedim(1, -1)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The input's shape with the given spatial sizes."""
        _, channels = split_shape(input_shape, self.data_format)
        return joined_shape(input_shape[0], self.output_size, channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "output_size": self.output_size, "data_format": self.data_format}


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """The means of `output_size` windows that cover the steps evenly, for each channel.

    Args:
        output_size: the number of output steps.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.

    >>> import fastk
    >>> fastk.layers.AdaptiveAveragePooling1D(3)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 3, 4])
    """

    rank, pool = 1, staticmethod(functional.adaptive_avg_pool1d)


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """The means of windows that cover images evenly; arguments as of `AdaptiveAveragePooling1D`, with two sizes.

    >>> import fastk
    >>> fastk.layers.AdaptiveAveragePooling2D((3, 2))(fastk.ops.ones((2, 7, 7, 4))).shape
    torch.Size([2, 3, 2, 4])
    """

    rank, pool = 2, staticmethod(functional.adaptive_avg_pool2d)


class AdaptiveAveragePooling3D(_AdaptivePooling):
    """The means of windows that cover volumes evenly; arguments as of `AdaptiveAveragePooling1D`, with three sizes.

    >>> import fastk
    >>> fastk.layers.AdaptiveAveragePooling3D(2)(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 2, 2, 2, 4])
    """

    rank, pool = 3, staticmethod(functional.adaptive_avg_pool3d)


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """The maxima of `output_size` windows that cover the steps evenly, for each channel.

    Args:
        output_size: the number of output steps.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.

    >>> import fastk
    >>> fastk.layers.AdaptiveMaxPooling1D(3)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 3, 4])
    """

    rank, pool = 1, staticmethod(functional.adaptive_max_pool1d)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """The maxima of windows that cover images evenly; arguments as of `AdaptiveMaxPooling1D`, with two sizes.

    >>> import fastk
    >>> fastk.layers.AdaptiveMaxPooling2D((3, 2))(fastk.ops.ones((2, 7, 7, 4))).shape
    torch.Size([2, 3, 2, 4])
    """

    rank, pool = 2, staticmethod(functional.adaptive_max_pool2d)


class AdaptiveMaxPooling3D(_AdaptivePooling):
    """The maxima of windows that cover volumes evenly; arguments as of `AdaptiveMaxPooling1D`, with three sizes.

    >>> import fastk
    >>> fastk.layers.AdaptiveMaxPooling3D(2)(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 2, 2, 2, 4])
    """

    rank, pool = 3, staticmethod(functional.adaptive_max_pool3d)
