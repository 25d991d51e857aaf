"""`Reshape`: other sizes for the same values."""

from __future__ import annotations

import math
from typing import Any

from fastk.layers.arguments import SameDtypeLayer


class Reshape(SameDtypeLayer):
    """Gives every sample the shape `target_shape`.

    Args:
        target_shape: sizes without the batch; one may be -1, and is then found from the others.

    >>> import fastk
    >>> fastk.layers.Reshape((-1, 2))(fastk.ops.ones((5, 3, 4))).shape
    torch.Size([5, 6, 2])
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        target_shape = tuple(target_shape)
        for size in target_shape:
            if size is not None and size < -1:
                raise ValueError(
                    "Each dimension in `target_shape` must be a non-negative integer, or `-1` for a single unknown "
                    f"dimension. Received: target_shape={target_shape}."
                )
        if target_shape.count(-1) > 1:
            raise ValueError(
                "There must be at most one unknown dimension (-1) in `target_shape`. Received: "
                f"target_shape={target_shape}."
            )
        self.target_shape = target_shape
        self._sizes = tuple(-1 if size is None else size for size in target_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """`inputs` in the target shape."""
        try:
            return inputs.reshape(inputs.shape[0], *self._sizes)
        except RuntimeError:
            # Sizes that do not fit raise a sentence here; an empty batch, which -1 does not work with, gets its shape.
            return inputs.reshape(self.compute_output_shape(tuple(inputs.shape)))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The batch and the target shape, -1 found."""
        batch, sizes, target = input_shape[0], input_shape[1:], self.target_shape
        if None in sizes or None in target:
            return (batch, *(None if size == -1 else size for size in target))
        size, known = math.prod(sizes), math.prod(n for n in target if n != -1)
        if -1 not in target and size != known:
            raise ValueError(
                f"The total size of the tensor must be unchanged. Received: input_shape={sizes}, target_shape={target}"
            )
        if -1 in target and (known == 0 or size % known):
            raise ValueError(
                "The total size of the tensor must be unchanged, however, the input size cannot by divided by the "
                f"specified dimensions in target_shape. Received: input_shape={sizes}, target_shape={target}"
            )
        return (batch, *(size // known if n == -1 else n for n in target))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "target_shape": self.target_shape}
