"""`CategoryEncoding`: indices of categories as vectors."""

from __future__ import annotations

from typing import Any

import torch

from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import check_dense, encoded
from fastk.tensor import convert_to_tensor


class CategoryEncoding(Layer):
    """Indices of categories as one-hot vectors, as multi-hot ones of a sample, or as counts.

    Args:
        num_tokens: the number of categories; the indices are smaller.
        output_mode: `"one_hot"`, `"multi_hot"` or `"count"`.
        sparse: not supported; must be False.

    Call arguments:
        inputs: integers: (categories of a sample,), or (batch, categories of a sample).
        count_weights: what each category counts, in the mode `"count"`.

    >>> import fastk
    >>> print(fastk.layers.CategoryEncoding(num_tokens=4)([[0, 1], [0, 0], [1, 2], [3, 1]]))
    [[1. 1. 0. 0.]
     [1. 0. 0. 0.]
     [0. 1. 1. 0.]
     [0. 1. 0. 1.]]
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        output_mode = "multi_hot" if output_mode == "binary" else output_mode
        if output_mode not in ("count", "one_hot", "multi_hot"):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}. Expected 'count', 'one_hot' or 'multi_hot'.")
        if num_tokens is None:
            raise ValueError(
                "num_tokens must be set to use this layer. If the number of tokens is not known beforehand, use the "
                "IntegerLookup layer instead."
            )
        if num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={num_tokens}.")
        check_dense(sparse)
        self.num_tokens = num_tokens
        self.output_mode = output_mode
        self.sparse = sparse
        self._allow_non_tensor_positional_args = True
        self._convert_input_args = False

    def call(self, inputs: Any, count_weights: Any = None) -> torch.Tensor:
        """The vectors of `inputs`."""
        if count_weights is not None:
            if self.output_mode != "count":
                raise ValueError(
                    "`count_weights` is not used when `output_mode` is not `'count'`. Received "
                    f"`count_weights={count_weights}`."
                )
            count_weights = convert_to_tensor(count_weights, dtype=self.compute_dtype)
        return encoded(convert_to_tensor(inputs), self.output_mode, self.num_tokens, self.dtype, count_weights)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the vectors."""
        shape = tuple(input_shape)
        if self.output_mode == "one_hot" and (len(shape) == 1 or (shape and shape[-1] != 1)):
            return (*shape, self.num_tokens)
        return (*shape[:-1], self.num_tokens)

    def compute_output_spec(self, inputs: Any, count_weights: Any = None) -> KerasTensor:
        """A KerasTensor like the outputs."""
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}
