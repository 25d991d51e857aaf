"""`Permute`: the axes of a sample in another order."""

from __future__ import annotations

from typing import Any

from fastk.layers.arguments import SameDtypeLayer
from fastk.layers.input_spec import InputSpec


class Permute(SameDtypeLayer):
    """Puts axis `dims[i]` of the input at position `i + 1`; the batch stays first.

    Args:
        dims: the axes 1, 2, ... in their new order.

    >>> import fastk
    >>> fastk.layers.Permute((2, 1))(fastk.ops.ones((5, 3, 4))).shape
    torch.Size([5, 4, 3])
    """

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                "Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must be "
                f"consecutive and start from 1. Received dims={dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Any) -> Any:
        """`inputs` with its axes permuted."""
        return inputs.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The sizes in their new order."""
        return (input_shape[0], *(input_shape[dim] for dim in self.dims))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dims": self.dims}
