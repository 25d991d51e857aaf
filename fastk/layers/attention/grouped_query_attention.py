"""`GroupedQueryAttention`: multi-head attention whose heads share keys and values in groups."""

from __future__ import annotations

import math
from typing import Any

from fastk.graph import KerasTensor
from fastk.layers.attention.heads import Heads


class GroupedQueryAttention(Heads):
    """As `MultiHeadAttention`, with fewer heads for keys and values than for queries: each serves a group of these.

    Args:
        head_dim: the size of a query, key or value in a head.
        num_query_heads: heads of the queries, a multiple of `num_key_value_heads`.
        num_key_value_heads: heads of keys and values.
        dropout: the share of weights dropped in training.
        use_bias: whether the projections have biases.
        sliding_window: how far a query sees; None is everywhere.
        flash_attention: whether to insist on (True), or rule out (False), the flash implementation.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the projections.
        kernel_constraint, bias_constraint: projections of the weights after each step.
        use_gate: whether each head's result is multiplied by a sigmoid of the query.
        seed: an integer makes the dropped weights the same in every run.

    Call arguments: as of `MultiHeadAttention`.

    Source: Ainslie et al., 2023, "GQA: training generalized multi-query transformer models".

    >>> import fastk
    >>> layer = fastk.layers.GroupQueryAttention(4, num_query_heads=4, num_key_value_heads=2)
    >>> layer(fastk.ops.ones((1, 5, 8)), fastk.ops.ones((1, 3, 8))).shape
    torch.Size([1, 5, 8])
    """

    # Files know the class by its public name.
    _keras_location = ("keras.layers", "GroupQueryAttention", None)
    _dot_product_equation = "bquh,bkuh->buqk"
    _combine_equation = "buqk,bkuh->bquh"

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                "`num_query_heads` must be divisible by `num_key_value_heads`. Received: "
                f"num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}"
            )
        self._set_up(
            dropout=dropout,
            use_bias=use_bias,
            use_gate=use_gate,
            sliding_window=sliding_window,
            flash_attention=flash_attention,
            activity_regularizer=activity_regularizer,
            seed=seed,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.activity_regularizer = self._activity_regularizer  # Keras penalises the layer's own output too
        self.head_dim = head_dim
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.num_repeats = num_query_heads // num_key_value_heads
        self._scale = 1.0 / math.sqrt(head_dim)

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Makes and builds the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        self._query_dense = self._build_heads("query", query_shape, self.num_query_heads)
        self._key_dense = self._build_heads("key", key_shape, self.num_key_value_heads)
        if self.use_gate:
            self._gate_dense = self._build_heads("gate", query_shape, self.num_query_heads, activation="sigmoid")
        self._value_dense = self._build_heads("value", value_shape, self.num_key_value_heads)
        self._output_dense = self._projection("attention_output", "bquh,uhm->bqm", (None, query_shape[-1]), "m")
        self._output_dense.build((None, None, self.num_query_heads, self.head_dim))
        self._build_attention((-1,))

    def _build_heads(self, name: str, shape: Any, heads: int, **kwargs: Any) -> Any:
        projection = self._projection(name, "bqm,muh->bquh", (None, heads, self.head_dim), "uh", **kwargs)
        projection.build(shape)
        return projection

    def _attend_by_scores(self, heads: tuple, mask: Any, training: Any) -> tuple:
        query, key, value = heads
        key, value = (x.repeat_interleave(self.num_repeats, dim=2) for x in (key, value))
        return super()._attend_by_scores((query, key, value), mask, training)

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> tuple:
        """The queries' shape."""
        if query_shape[-1] != value_shape[-1]:
            raise ValueError(
                "The last dimension of `query_shape` and `value_shape` must be equal, but are "
                f"{query_shape[-1]}, {value_shape[-1]}. Received: query_shape={query_shape}, value_shape={value_shape}"
            )
        self._check_lengths(value_shape, value_shape if key_shape is None else key_shape)
        return tuple(query_shape)

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, *, return_attention_scores: bool = False, **kwargs: Any
    ) -> Any:
        """KerasTensors like the outputs."""
        shape = self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape)
        outputs = KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        scores = (query.shape[0], self.num_query_heads, query.shape[1], value.shape[1])
        return outputs, KerasTensor(scores, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
        }
