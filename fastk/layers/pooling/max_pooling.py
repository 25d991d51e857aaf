"""`MaxPooling1D`, `2D`, `3D`: the largest value of each window."""

from __future__ import annotations

from typing import Any

from fastk import autograd, ops
from fastk.layers.pooling.base import Pooling


class MaxPooling1D(Pooling):
    """The maximum of windows of steps, for each channel.

    Args:
        pool_size: steps in a window.
        strides: steps from window to window; by default windows do not overlap.
        padding: `"valid"`: windows inside the input alone; `"same"`: one for every `strides` steps.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        name: the layer's name.

    >>> import fastk
    >>> fastk.layers.MaxPooling1D(2)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 5, 4])
    """

    rank = 1

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def _pool(self, x: Any) -> Any:
        return autograd.max_pool1d(x, self.pool_size, strides=self.strides, padding=self.padding)


class MaxPooling2D(Pooling):
    """The maximum of windows of pixels, for each channel.

    Args:
        pool_size: rows and columns of a window: one integer for both, or a pair.
        strides: pixels from window to window; by default windows do not overlap.
        padding: `"valid"`: windows inside the input alone; `"same"`: one for every `strides` pixels.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.
        name: the layer's name.

    >>> import fastk
    >>> fastk.layers.MaxPooling2D()(fastk.ops.ones((2, 10, 10, 4))).shape
    torch.Size([2, 5, 5, 4])
    """

    rank = 2

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def _pool(self, x: Any) -> Any:
        return autograd.max_pool2d(x, self.pool_size, strides=self.strides, padding=self.padding)


class MaxPooling3D(Pooling):
    """The maximum of windows of volumes; arguments as of `MaxPooling2D`, with three sizes.

    >>> import fastk
    >>> fastk.layers.MaxPooling3D()(fastk.ops.ones((2, 4, 4, 4, 3))).shape
    torch.Size([2, 2, 2, 2, 3])
    """

    rank = 3

    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def _pool(self, x: Any) -> Any:
        return ops.max_pool(x, self.pool_size, self.strides, self.padding, data_format="channels_last")
