"""`Attention`: dot-product attention of one head, without projections."""

from __future__ import annotations

from typing import Any

import torch

from fastk import autograd
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.random import SeedGenerator


class Attention(Layer):
    """Each query's mean of the values, weighted by the softmax of its scores with the keys.

    Args:
        use_scale: whether the scores are multiplied by a trained number.
        score_mode: `"dot"`: the product of query and key, or `"concat"`: the sum of `tanh(query + key)`, times a
            trained number.
        dropout: the share of weights dropped in training.
        seed: an integer makes the dropped weights the same in every run.

    Call arguments: `inputs`, a list of query `(batch, queries, size)`, value `(batch, keys, size)` and, where it is not
    the value, key; `mask`, a list of masks of query and value; `return_attention_scores`, `training`,
    `use_causal_mask`.

    Source: Luong et al., 2015, "Effective approaches to attention-based neural machine translation".

    >>> import fastk
    >>> fastk.layers.Attention()([fastk.ops.ones((1, 5, 8)), fastk.ops.ones((1, 3, 8))]).shape
    torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                "Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. "
                f"Received: score_mode={score_mode}"
            )
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = dropout
        self.seed = seed
        if dropout > 0:
            self.seed_generator = SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Makes the trained numbers."""
        self._check(input_shape)
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones") if self.use_scale else None
        self.concat_score_weight = (
            self.add_weight(name="concat_score_weight", shape=(), initializer="ones")
            if self.score_mode == "concat"
            else None
        )

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """What the queries attend to, and the attention's weights where `return_attention_scores` asks for them."""
        self._check(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        query_mask, value_mask = mask[:2] if mask else (None, None)
        scores = self._scores(query, key)
        seen = None if value_mask is None else value_mask.to(torch.bool)
        if seen is not None and seen.ndim == 2:
            seen = seen.unsqueeze(-2)
        if use_causal_mask:
            causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            seen = causal if seen is None else seen & causal
        if seen is not None:
            scores = torch.where(seen, scores, scores - (65504.0 if scores.dtype is torch.float16 else 1e9))
        weights = scores.softmax(-1)
        if training and self.dropout > 0:
            weights = autograd.dropout(weights, self.dropout, self.seed_generator.next())
        outputs = torch.matmul(weights, value)
        if query_mask is not None:
            outputs = torch.where(query_mask.to(torch.bool).unsqueeze(-1), outputs, 0)
        return (outputs, weights) if return_attention_scores else outputs

    def _scores(self, query: Any, key: Any) -> Any:
        scale = None if self.scale is None else self.scale.value
        if self.concat_score_weight is None:
            scores = torch.matmul(query, key.mT)
            return scores if scale is None else scores * scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)
        return self.concat_score_weight.value * torch.tanh(both if scale is None else both * scale).sum(-1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The queries' mask."""
        self._check(inputs, mask)
        return None if mask is None else mask[0]

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The queries' shape, with the values' size."""
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(
        self, inputs: Any, mask: Any = None, return_attention_scores: bool = False, **kwargs: Any
    ) -> Any:
        """KerasTensors like the outputs."""
        self._check(inputs, mask)
        query, value = inputs[:2]
        outputs = KerasTensor(self.compute_output_shape([query.shape, value.shape]), dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        return outputs, KerasTensor((*query.shape[:-1], value.shape[-2]), dtype=self.compute_dtype)

    def _check(self, inputs: Any, mask: Any = None) -> None:
        name = type(self).__name__
        if not isinstance(inputs, list):
            raise ValueError(
                f"{name} layer must be called on a list of inputs, namely [query, value] or [query, value, key]. "
                f"Received: inputs={inputs}."
            )
        if len(inputs) not in (2, 3):
            raise ValueError(
                f"{name} layer accepts inputs list of length 2 or 3, namely [query, value] or [query, value, key]. "
                f"Received length: {len(inputs)}."
            )
        if mask is not None and not isinstance(mask, list):
            raise ValueError(
                f"{name} layer mask must be a list, namely [query_mask, value_mask]. Received: mask={mask}."
            )
        if mask is not None and len(mask) not in (2, 3):
            raise ValueError(
                f"{name} layer accepts mask list of length 2 or 3. Received: inputs={inputs}, mask={mask}."
            )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }
