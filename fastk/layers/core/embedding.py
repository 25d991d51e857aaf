"""`Embedding`: a vector for each integer."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.nn import functional

from fastk import regularizers
from fastk.layers.arguments import require_none
from fastk.layers.layer import Layer
from fastk.layers.lora import LowRankAdaptation


class Embedding(LowRankAdaptation, Layer):
    """Looks integers up in a table of trained vectors.

    Args:
        input_dim: the number of vectors: integers are from 0 to `input_dim - 1`.
        output_dim: the size of a vector.
        embeddings_initializer: first values.
        embeddings_regularizer: a penalty added to the loss.
        embeddings_constraint: a projection after each step.
        mask_zero: whether 0 stands for padding, which later layers then skip.
        weights: first values as an array `(input_dim, output_dim)`.
        lora_rank: the rank of a trained correction of the frozen table; see `enable_lora`.
        lora_alpha: the correction's scale, by default `lora_rank`.
        quantization_config: not supported; must be None.

    Input `(...)`, integers; output `(..., output_dim)`.

    >>> import fastk
    >>> fastk.layers.Embedding(10, 4)(fastk.ops.array([[1, 2, 3]])).shape
    torch.Size([1, 3, 4])
    """

    _lora_weight = "embeddings"

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: None = None,
        **kwargs: Any,
    ):
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: {name}={size} (of type {type(size).__name__})."
                )
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` is deprecated. Just remove it.", stacklevel=2)
        super().__init__(**kwargs)
        require_none(quantization_config=quantization_config)
        self._set_lora(lora_rank, lora_alpha)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self._set_weight_options(
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
        )
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.autocast = False
        self._makes_masks = mask_zero  # which the short way of a call would not attach
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        """Makes the table `(input_dim, output_dim)`."""
        if not self.built:
            self.embeddings = self._add_weight_with_options("embeddings", (self.input_dim, self.output_dim))
            self._build_lora()

    def call(self, inputs: Any) -> Any:
        """The vectors of `inputs`."""
        if inputs.dtype is not torch.int32 and inputs.dtype is not torch.int64:
            inputs = inputs.to(torch.int32)
        outputs = functional.embedding(inputs, self._frozen().value)
        if self.lora_enabled:
            a, b = self._factors()
            correction = torch.matmul(functional.embedding(inputs, a.value), b.value)
            outputs = outputs + (self._lora_scale() * correction).to(outputs.dtype)
        dtype = self._torch_input_dtype()
        return outputs if outputs.dtype is dtype else outputs.to(dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where the integer is not 0, with `mask_zero`."""
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`input_shape` and the size of a vector."""
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **self._weight_options_config(),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "mask_zero": self.mask_zero,
            "quantization_config": None,
            **self._lora_config(),
        }
