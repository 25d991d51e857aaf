"""`UpSampling1D`, `2D`, `3D`: larger sequences, images, volumes."""

from __future__ import annotations

from typing import Any

from fastk import config, ops
from fastk.layers.arguments import SameDtypeLayer, standardize_tuple
from fastk.layers.input_spec import InputSpec

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")


class _UpSampling(SameDtypeLayer):
    rank: int

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = config.standardize_data_format(data_format)
        self._factors = standardize_tuple(size, self.rank, "size")
        self.size = self._factors
        self._first_axis = 2 if self.data_format == "channels_first" else 1
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Any) -> Any:
        """`inputs` with each entry repeated along the spatial axes."""
        # An axis of repeats after each spatial one, then both flattened into one: a single copy.
        split, repeated, sizes = list(inputs.shape), list(inputs.shape), list(inputs.shape)
        for i, factor in reversed(list(enumerate(self._factors, self._first_axis))):
            split.insert(i + 1, 1)
            repeated.insert(i + 1, factor)
            sizes[i] *= factor
        return inputs.reshape(split).expand(repeated).reshape(sizes)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The input's sizes, those of the spatial axes multiplied."""
        sizes = list(input_shape)
        for axis, factor in enumerate(self._factors, self._first_axis):
            if sizes[axis] is not None:
                sizes[axis] *= factor
        return tuple(sizes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


class UpSampling1D(_UpSampling):
    """Sequences `(batch, steps, channels)` with each step repeated.

    Args:
        size: how often.

    >>> import fastk
    >>> fastk.layers.UpSampling1D(2)(fastk.ops.ones((2, 3, 4))).shape
    torch.Size([2, 6, 4])
    """

    rank = 1

    def __init__(self, size: int = 2, **kwargs: Any):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"Expected an integer value for `size`, got {type(size)}.")
        if size <= 0:
            raise ValueError(f"Argument `size` should be a positive integer. Received: size={size}")
        super().__init__(size, "channels_last", **kwargs)
        self.size = size

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "data_format"}


class UpSampling2D(_UpSampling):
    """Images enlarged by whole factors.

    Args:
        size: the factor of both axes, or one for each.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.
        interpolation: `"nearest"` repeats pixels; also `"bilinear"`, `"bicubic"`, `"lanczos3"` and `"lanczos5"`.

    >>> import fastk
    >>> fastk.layers.UpSampling2D((1, 2))(fastk.ops.ones((2, 3, 3, 4))).shape
    torch.Size([2, 3, 6, 4])
    """

    rank = 2

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ):
        super().__init__(size, data_format, **kwargs)
        self.interpolation = interpolation.lower()
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Invalid `interpolation` argument. Expected one of {', '.join(map(repr, INTERPOLATIONS))}. "
                f"Received: interpolation={interpolation!r}"
            )

    def call(self, inputs: Any) -> Any:
        """`inputs`, enlarged."""
        if self.interpolation == "nearest":
            return super().call(inputs)
        axis = self._first_axis
        sizes = (inputs.shape[axis] * self.size[0], inputs.shape[axis + 1] * self.size[1])
        return ops.image.resize(inputs, sizes, interpolation=self.interpolation, data_format=self.data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "interpolation": self.interpolation}


class UpSampling3D(_UpSampling):
    """Volumes with each entry repeated.

    Args:
        size: the factor of all axes, or one for each.
        data_format: `"channels_last"`: `(batch, depth, rows, columns, channels)`, or `"channels_first"`.

    >>> import fastk
    >>> fastk.layers.UpSampling3D(2)(fastk.ops.ones((2, 3, 3, 3, 4))).shape
    torch.Size([2, 6, 6, 6, 4])
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any):
        super().__init__(size, data_format, **kwargs)
