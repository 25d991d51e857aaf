"""`RMSNormalization`: values with a mean square of 1."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.arguments import checked_axes
from fastk.layers.layer import Layer


class RMSNormalization(Layer):
    """Divides by the root of the mean square along `axis`, and multiplies by a trained `scale`.

    Args:
        axis: the axis, or axes.
        epsilon: added to the mean square.

    Source: Zhang & Sennrich, 2019, "Root mean square layer normalization".

    >>> import fastk
    >>> print(fastk.layers.RMSNormalization(epsilon=0.0)(fastk.ops.array([[2.0, -2.0]])))
    [[ 1. -1.]]
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        """Makes `scale` of the sizes along the axes."""
        self.axis = sorted(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        self._axes = tuple(self.axis)
        self.scale = self.add_weight(
            name="scale", shape=tuple(input_shape[axis] for axis in self.axis), initializer="ones"
        )

    def call(self, x: Any) -> Any:
        """`x`, scaled."""
        working = torch.promote_types(x.dtype, torch.float32)
        wide = x if x.dtype is working else x.to(working)
        scale = self.scale.value.to(working)
        if self._axes != (-1,):
            axes = {axis % x.ndim for axis in self._axes}
            scale = scale.reshape([size if axis in axes else 1 for axis, size in enumerate(x.shape)])
        outputs = wide * torch.rsqrt(wide.square().mean(self._axes, keepdim=True) + self.epsilon) * scale
        return outputs if outputs.dtype is x.dtype else outputs.to(x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        checked_axes(self.axis, input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
