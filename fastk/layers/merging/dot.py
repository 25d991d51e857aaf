"""`Dot`: products of two tensors, summed along an axis of each."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.merging.base import Merge


class Dot(Merge):
    """Contracts one axis of the first input with one of the second, sample by sample.

    Args:
        axes: the axis of both, or a pair of axes; not the batch's.
        normalize: whether both are scaled to length 1 along the axis first: the result is then the cosine.

    >>> import fastk
    >>> fastk.layers.Dot(axes=(1, 2))([fastk.ops.ones((5, 3, 2)), fastk.ops.ones((5, 4, 3))]).shape
    torch.Size([5, 2, 4])
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, (list, tuple)):
                raise TypeError(
                    f"Invalid type for argument `axes`: it should be a list or an int. Received: axes={axes}"
                )
            if len(axes) != 2:
                raise ValueError(
                    f"Invalid format for argument `axes`: it should contain two elements. Received: axes={axes}"
                )
            if not all(isinstance(axis, int) for axis in axes):
                raise ValueError(
                    f"Invalid format for argument `axes`: list elements should be integers. Received: axes={axes}"
                )
        self.axes = axes
        self.normalize = normalize

    def build(self, input_shape: Any) -> None:
        """Checks that the sizes of the contracted axes agree."""
        if not isinstance(input_shape[0], (tuple, list)) or len(input_shape) != 2:
            raise ValueError(
                f"A `Dot` layer should be called on a list of 2 inputs. Received: input_shape={input_shape}"
            )
        shape1, shape2 = input_shape
        axis1, axis2 = self._axes_of(len(shape1), len(shape2))
        size1, size2 = shape1[axis1], shape2[axis2]
        if size1 is not None and size2 is not None and size1 != size2:
            raise ValueError(
                f"Incompatible input shapes: axis values {size1} (at axis {axis1}) != {size2} (at axis {axis2}). "
                f"Full input shapes: {shape1}, {shape2}"
            )

    def _axes_of(self, rank1: int, rank2: int) -> tuple[int, int]:
        axis1, axis2 = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        axis1, axis2 = axis1 % rank1 if axis1 < 0 else axis1, axis2 % rank2 if axis2 < 0 else axis2
        if rank1 < 2 or rank2 < 2 or 0 in (axis1, axis2):
            raise ValueError(
                "Cannot contract axis 0, the batch, or inputs of rank below 2. If your inputs are not batched, add a "
                f"batch dimension with keras.ops.expand_dims(x, 0). Received: axes={self.axes} for inputs of rank "
                f"{rank1} and {rank2}"
            )
        return axis1, axis2

    def _merge(self, inputs: Any) -> Any:
        if len(inputs) != 2:
            raise ValueError(f"A `Dot` layer should be called on exactly 2 inputs. Received: inputs={inputs}")
        x1, x2 = inputs
        axis1, axis2 = self._axes_of(x1.ndim, x2.ndim)
        if self.normalize:
            x1, x2 = ops.normalize(x1, axis=axis1), ops.normalize(x2, axis=axis2)
        x1, x2 = x1.movedim(axis1, -1), x2.movedim(axis2, 1)
        batch, size = x1.shape[0], x1.shape[-1]
        outer = (*x1.shape[1:-1], *x2.shape[2:])
        product = torch.bmm(x1.reshape(batch, -1, size), x2.reshape(batch, size, -1))
        return product.reshape(batch, *(outer or (1,)))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The sizes of both without the contracted axes; `(batch, 1)` where nothing is left."""
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 2:
            raise ValueError(
                f"A `Dot` layer should be called on a list of 2 inputs. Received: input_shape={input_shape}"
            )
        shape1, shape2 = map(list, input_shape)
        axis1, axis2 = self._axes_of(len(shape1), len(shape2))
        del shape1[axis1], shape2[axis2]
        outer = (*shape1[1:], *shape2[1:])
        return (shape1[0], *(outer or (1,)))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the contracted axis is gone."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes=axes, **kwargs)(inputs)
