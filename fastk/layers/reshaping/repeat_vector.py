"""`RepeatVector`: a vector as a sequence of equal steps."""

from __future__ import annotations

from typing import Any

from fastk.layers.arguments import SameDtypeLayer
from fastk.layers.input_spec import InputSpec


class RepeatVector(SameDtypeLayer):
    """`(batch, features)` to `(batch, n, features)`.

    Args:
        n: how often each vector is repeated.

    >>> import fastk
    >>> fastk.layers.RepeatVector(3)(fastk.ops.ones((5, 4))).shape
    torch.Size([5, 3, 4])
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(n, int) or isinstance(n, bool):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        if n <= 0:
            raise ValueError(f"Argument `n` should be a positive integer. Received: n={n}")
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Any) -> Any:
        """`inputs`, repeated along a new axis 1."""
        return inputs.unsqueeze(1).repeat(1, self.n, 1)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`(batch, n, features)`."""
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "n": self.n}
