"""`AdditiveAttention`: attention by the sum of query and key."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.attention.attention import Attention


class AdditiveAttention(Attention):
    """As `Attention`, with the scores `sum(scale * tanh(query + key))`.

    Args:
        use_scale: whether `scale` is trained, one entry a feature.
        dropout: the share of weights dropped in training.

    Source: Bahdanau et al., 2015, "Neural machine translation by jointly learning to align and translate".

    >>> import fastk
    >>> fastk.layers.AdditiveAttention()([fastk.ops.ones((1, 5, 8)), fastk.ops.ones((1, 3, 8))]).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Makes the scale."""
        self._check(input_shape)
        size = (input_shape[0][-1],)
        self.scale = self.add_weight(name="scale", shape=size, initializer="glorot_uniform") if self.use_scale else None

    def _scores(self, query: Any, key: Any) -> Any:
        sums = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return (sums if self.scale is None else sums * self.scale.value).sum(-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "score_mode"}
