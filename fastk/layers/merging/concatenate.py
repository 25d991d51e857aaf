"""`Concatenate`: tensors joined along an axis."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.merging.base import Merge, check_masks


class Concatenate(Merge):
    """Joins its inputs along `axis`; along the other axes they have the same sizes.

    Args:
        axis: the axis.

    >>> import fastk
    >>> fastk.layers.Concatenate()([fastk.ops.ones((5, 2)), fastk.ops.ones((5, 3))]).shape
    torch.Size([5, 5])
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """Checks that the shapes can be joined."""
        if len(input_shape) < 1 or not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                "A `Concatenate` layer should be called on a list of at least 1 input. "
                f"Received: input_shape={input_shape}"
            )
        others = []
        for shape in input_shape:
            others.append(list(shape))
            if -len(shape) <= self.axis < len(shape):
                del others[-1][self.axis]
        same_rank = len({len(sizes) for sizes in others}) == 1
        if not same_rank or any(len({*sizes} - {None}) > 1 for sizes in zip(*others, strict=True)):
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the concatenation axis. "
                f"Received: input_shape={input_shape}"
            )

    def _merge(self, inputs: Any) -> Any:
        return torch.cat(inputs, dim=self.axis)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The first shape with the sizes along the axis summed."""
        if not isinstance(input_shape, (tuple, list)) or not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                f"A `Concatenate` layer should be called on a list of inputs. Received: input_shape={input_shape}"
            )
        sizes = list(input_shape[0])
        along = [shape[self.axis] for shape in input_shape]
        sizes[self.axis] = None if None in along else sum(along)
        return tuple(sizes)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The masks joined; inputs without one count wholly."""
        if mask is None:
            return None
        check_masks(inputs, mask)
        if all(m is None for m in mask):
            return None
        masks = []
        for x, m in zip(inputs, mask, strict=True):
            if m is None:
                m = ops.ones_like(x, dtype="bool")
            elif m.ndim < x.ndim:
                m = ops.logical_or(ops.expand_dims(m, -1), ops.zeros_like(x, dtype="bool"))
            masks.append(m)
        return ops.any(ops.concatenate(masks, axis=self.axis), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis=axis, **kwargs)(inputs)
