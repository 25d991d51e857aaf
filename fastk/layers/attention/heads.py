"""What multi-head attention layers share: projections, masks, and attention itself."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config, ops, regularizers
from fastk.layers.activations.softmax import Softmax
from fastk.layers.core.einsum_dense import EinsumDense
from fastk.layers.layer import Layer
from fastk.layers.regularization.dropout import Dropout
from fastk.tensor import get_keras_mask


class Heads(Layer):
    """Base of layers that project queries, keys and values to several heads, attend, and project back."""

    dropout: float
    use_bias: bool
    use_gate: bool
    sliding_window: int | None
    _query_dense: Any
    _key_dense: Any
    _value_dense: Any
    _output_dense: Any
    _gate_dense: Any
    _scale: float
    _dot_product_equation: str
    _combine_equation: str
    _axes_count = 1

    def _set_up(
        self,
        *,
        dropout: float,
        use_bias: bool,
        use_gate: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        activity_regularizer: Any,
        seed: int | None,
        **weight_options: Any,
    ) -> None:
        """Checks and keeps the arguments that all of these layers have."""
        if sliding_window is not None and (not isinstance(sliding_window, int) or sliding_window <= 0):
            raise ValueError(
                f"`sliding_window` must be `None` or a positive integer. Received: sliding_window={sliding_window}"
            )
        if flash_attention is None:
            flash_attention = config.is_flash_attention_enabled()
        if flash_attention and dropout > 0:
            raise ValueError(
                "Dropout is not supported when flash attention is enabled. Please set dropout to 0.0 to use flash "
                "attention."
            )
        self.supports_masking = True
        self.dropout = dropout
        self.use_bias = use_bias
        self.use_gate = use_gate
        self.sliding_window = sliding_window
        self._flash_attention = flash_attention
        # The projections have it, not the layer.
        self._activity_regularizer = regularizers.get(activity_regularizer)
        self.seed = seed
        self._set_weight_options(**weight_options)

    def _projection(self, name: str, equation: str, output_shape: Any, bias_axes: str, **kwargs: Any) -> EinsumDense:
        options = {option: getattr(self, option) for option in self._weight_options}
        for option in ("kernel_initializer", "bias_initializer"):
            # One of its own each: a shared seeded initializer would give all projections the same values.
            options[option] = type(options[option]).from_config(options[option].get_config())
        return EinsumDense(
            equation,
            output_shape=output_shape,
            bias_axes=bias_axes if self.use_bias else None,
            name=name,
            activity_regularizer=self._activity_regularizer,
            dtype=self.dtype_policy,
            **options,
            **kwargs,
        )

    def _build_attention(self, axes: tuple[int, ...]) -> None:
        self._softmax = Softmax(axis=axes, dtype=self.dtype_policy)
        self._dropout_layer = Dropout(rate=self.dropout, dtype=self.dtype_policy, seed=self.seed)

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """What the queries attend to, and the attention's weights where `return_attention_scores` asks for them."""
        query, value = _unmasked(query), _unmasked(value)
        key = value if key is None else _unmasked(key)
        if return_attention_scores and self._flash_attention:
            raise ValueError(
                "Returning attention scores is not supported when flash attention is enabled. Please disable flash "
                "attention to access attention scores."
            )
        mask = self._joined_mask(query, value, query_mask, value_mask, key_mask, attention_mask)
        gate = self._gate_dense(query) if self.use_gate else None
        heads = (self._query_dense(query), self._key_dense(key), self._value_dense(value))
        if self.dropout == 0 and not return_attention_scores and heads[0].ndim == 4 and self._attends_along_one_axis():
            outputs, scores = self._attend(heads, mask, use_causal_mask), None
        else:
            if use_causal_mask:
                causal = _causal(query, value)
                mask = causal if mask is None else mask & causal
            outputs, scores = self._attend_by_scores(heads, mask, training)
        outputs = self._output_dense(outputs if gate is None else outputs * gate)
        return (outputs, scores) if return_attention_scores else outputs

    def _attends_along_one_axis(self) -> bool:
        return True

    def _attend(self, heads: tuple, mask: Any, causal: bool) -> Any:
        """The attention's outputs alone, for queries, keys and values `(batch, steps, heads, size)`."""
        if mask is not None:
            mask = _at_scores(mask, 4, 1)
        return ops.dot_product_attention(
            *heads,
            mask=mask,
            scale=self._scale,
            is_causal=bool(causal),
            flash_attention=self._flash_attention,
        )

    def _attend_by_scores(self, heads: tuple, mask: Any, training: Any) -> tuple:
        """The outputs and the weights, by products with the whole matrix of weights."""
        query, key, value = heads
        scores = torch.einsum(self._dot_product_equation, query * self._scale, key)
        if mask is not None:
            mask = _at_scores(mask, scores.ndim, self._axes_count)
        scores = self._softmax(scores, mask=mask)
        kept = self._dropout_layer(scores, training=training) if self.dropout > 0 else scores
        return torch.einsum(self._combine_equation, kept, value), scores

    def _joined_mask(
        self, query: Any, value: Any, query_mask: Any, value_mask: Any, key_mask: Any, attention_mask: Any
    ) -> Any:
        """The mask `(batch, queries, keys)` that all masks give together; None without any."""
        parts = []
        if query_mask is not None:
            parts.append(query_mask.to(torch.bool).unsqueeze(-1))
        parts += [mask.to(torch.bool).unsqueeze(-2) for mask in (value_mask, key_mask) if mask is not None]
        if self.sliding_window is not None:
            rows, columns = _positions(query, value)
            parts.append((rows - columns).abs() < self.sliding_window)
        if attention_mask is not None:
            parts.append(attention_mask.to(torch.bool))
        joined = None
        for part in parts:
            joined = part if joined is None else joined & part
        return joined

    def _check_lengths(self, value_shape: Any, key_shape: Any) -> None:
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ValueError(
                "All dimensions of `value` and `key`, except the last one, must be equal. "
                f"Received: value_shape={value_shape} and key_shape={key_shape}"
            )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "sliding_window": self.sliding_window,
            **self._weight_options_config(),
            "activity_regularizer": regularizers.serialize(self._activity_regularizer),
            "seed": self.seed,
        }


def _unmasked(x: Any) -> Any:
    """`x` without its mask, which the projections have no use for."""
    return x if get_keras_mask(x) is None else x.view_as(x)


def _at_scores(mask: Any, rank: int, axes: int) -> Any:
    """`mask` with axes for the heads put before those of queries and keys."""
    while mask.ndim < rank:
        mask = mask.unsqueeze(-2 * axes - 1)
    return mask


def _positions(query: Any, value: Any) -> tuple:
    rows = torch.arange(query.shape[1], device=query.device)
    return rows.view(1, -1, 1), torch.arange(value.shape[1], device=query.device).view(1, 1, -1)


def _causal(query: Any, value: Any) -> Any:
    rows, columns = _positions(query, value)
    return rows >= columns
