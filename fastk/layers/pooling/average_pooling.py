"""`AveragePooling1D`, `2D`, `3D`: the mean of each window."""

from __future__ import annotations

from typing import Any

from fastk import autograd, ops
from fastk.layers.pooling.base import Pooling


class AveragePooling1D(Pooling):
    """The mean of windows of steps, for each channel; padding does not count.

    Args:
        pool_size: steps in a window.
        strides: steps from window to window; by default windows do not overlap.
        padding: `"valid"`: windows inside the input alone; `"same"`: one for every `strides` steps.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        name: the layer's name.

    >>> import fastk
    >>> fastk.layers.AveragePooling1D(2)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 5, 4])
    """

    rank = 1

    def _pool(self, x: Any) -> Any:
        return autograd.average_pool1d(x, self.pool_size, strides=self.strides, padding=self.padding)


class AveragePooling2D(Pooling):
    """The mean of windows of pixels; arguments as of `AveragePooling1D`, with two sizes.

    >>> import fastk
    >>> fastk.layers.AveragePooling2D(2)(fastk.ops.ones((2, 10, 10, 4))).shape
    torch.Size([2, 5, 5, 4])
    """

    rank = 2

    def _pool(self, x: Any) -> Any:
        return autograd.average_pool2d(x, self.pool_size, strides=self.strides, padding=self.padding)


class AveragePooling3D(Pooling):
    """The mean of windows of volumes; arguments as of `AveragePooling1D`, with three sizes.

    >>> import fastk
    >>> fastk.layers.AveragePooling3D(2)(fastk.ops.ones((2, 4, 4, 4, 3))).shape
    torch.Size([2, 2, 2, 2, 3])
    """

    rank = 3

    def _pool(self, x: Any) -> Any:
        return ops.average_pool(x, self.pool_size, self.strides, self.padding, data_format="channels_last")
