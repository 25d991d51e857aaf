"""`ReversibleEmbedding`: a table of vectors, used in both directions."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, tensor
from fastk.graph import KerasTensor
from fastk.layers.core.embedding import Embedding


class ReversibleEmbedding(Embedding):
    """An `Embedding` that, called with `reverse=True`, gives the logits of all integers for vectors.

    Args:
        input_dim, output_dim, embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero: as of
            `Embedding`.
        tie_weights: whether the same table is used in both directions.
        reverse_dtype: the dtype that logits are computed in; by default the compute dtype.
        logit_soft_cap: logits are `cap * tanh(logits / cap)`; None is no cap.

    Source: Press & Wolf, 2017, "Using the output embedding to improve language models".

    >>> import fastk
    >>> layer = fastk.layers.ReversibleEmbedding(10, 4)
    >>> layer(layer(fastk.ops.array([[1, 2, 3]])), reverse=True).shape
    torch.Size([1, 3, 10])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            **kwargs,
        )
        self.tie_weights = tie_weights
        self.reverse_dtype = reverse_dtype
        self.logit_soft_cap = logit_soft_cap

    def build(self, input_shape: Any = None) -> None:
        """Makes the table, and the one of the other direction where they are not the same."""
        super().build(input_shape)
        if not self.tie_weights:
            self.reverse_embeddings = self.add_weight(
                shape=(self.output_dim, self.input_dim),
                initializer=self.embeddings_initializer,
                name="reverse_embeddings",
            )

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        """The vectors of integers, or the logits of vectors."""
        if not reverse:
            outputs = super().call(inputs)
            if self.mask_zero:
                tensor.set_keras_mask(outputs, inputs != 0)
            return outputs
        kernel = self._adapted().T if self.tie_weights else self.reverse_embeddings.value
        dtype = dtypes.to_torch_dtype(self.reverse_dtype or self.compute_dtype)
        logits = torch.matmul(inputs.to(dtype), kernel.to(dtype))
        cap = self.logit_soft_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: `call` knows the direction, and attaches the mask."""
        return None

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> tuple:
        """The shape of the vectors, or of the logits."""
        return (*input_shape[:-1], self.input_dim) if reverse else (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> Any:
        """A KerasTensor like the output."""
        dtype = (self.reverse_dtype if reverse else None) or self.compute_dtype
        outputs = KerasTensor(self.compute_output_shape(inputs.shape, reverse), dtype=dtype)
        if self.mask_zero and not reverse:
            tensor.set_keras_mask(outputs, inputs != 0)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "tie_weights": self.tie_weights,
            "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }
