"""`UnitNormalization`: vectors of length 1."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.arguments import SameShapeLayer, checked_axes


class UnitNormalization(SameShapeLayer):
    """Divides by the Euclidean norm along `axis`.

    Args:
        axis: the axis, or axes.

    >>> import fastk
    >>> print(fastk.layers.UnitNormalization()(fastk.ops.array([[3.0, 4.0]])))
    [[0.6 0.8]]
    """

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)):
            raise TypeError(
                f"Invalid value for `axis` argument: expected an int or a list/tuple of ints. Received: axis={axis}"
            )
        self.axis = axis if isinstance(axis, int) else list(axis)

    def call(self, inputs: Any) -> Any:
        """`inputs`, scaled."""
        return inputs / torch.linalg.vector_norm(inputs, dim=self.axis, keepdim=True).clamp(min=1e-12)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        checked_axes(self.axis, input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}
