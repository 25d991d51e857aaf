"""`GlobalAveragePooling` and `GlobalMaxPooling`, `1D`, `2D` and `3D`: one value for each channel."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.pooling.base import GlobalPooling


class _GlobalAveragePooling(GlobalPooling):
    def call(self, inputs: Any) -> Any:
        """The mean over all positions."""
        return inputs.mean(self._reduced_axes, keepdim=self.keepdims)


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean over all steps, for each channel; masked steps do not count.

    Args:
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        keepdims: whether the reduced axis stays, with size 1.

    >>> import fastk
    >>> fastk.layers.GlobalAveragePooling1D()(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 4])
    """

    rank = 1

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True
        # What this layer does about masks is in `call`; without one, the short way of a call will do.
        self._makes_masks = False

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The mean over the steps that count."""
        if mask is None:
            return super().call(inputs)
        axis = self._reduced_axes[0]
        mask = mask.to(torch.bool).unsqueeze(3 - axis)
        total = torch.where(mask, inputs, 0).sum(axis, keepdim=self.keepdims)
        return total / mask.to(inputs.dtype).sum(axis, keepdim=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the steps are gone."""
        return None


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean over all pixels, for each channel.

    Args:
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.
        keepdims: whether the reduced axes stay, with size 1.

    >>> import fastk
    >>> fastk.layers.GlobalAveragePooling2D(keepdims=True)(fastk.ops.ones((2, 5, 5, 4))).shape
    torch.Size([2, 1, 1, 4])
    """

    rank = 2


class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The mean over all of a volume, for each channel; arguments as of `GlobalAveragePooling2D`.

    >>> import fastk
    >>> fastk.layers.GlobalAveragePooling3D()(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 4])
    """

    rank = 3


class _GlobalMaxPooling(GlobalPooling):
    def call(self, inputs: Any) -> Any:
        """The maximum over all positions."""
        return inputs.amax(self._reduced_axes, keepdim=self.keepdims)


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The maximum over all steps, for each channel.

    Args:
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        keepdims: whether the reduced axis stays, with size 1.

    >>> import fastk
    >>> fastk.layers.GlobalMaxPooling1D()(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 4])
    """

    rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The maximum over all pixels, for each channel; arguments as of `GlobalAveragePooling2D`.

    >>> import fastk
    >>> fastk.layers.GlobalMaxPooling2D()(fastk.ops.ones((2, 5, 5, 4))).shape
    torch.Size([2, 4])
    """

    rank = 2


class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The maximum over all of a volume, for each channel; arguments as of `GlobalAveragePooling2D`.

    >>> import fastk
    >>> fastk.layers.GlobalMaxPooling3D()(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 4])
    """

    rank = 3
