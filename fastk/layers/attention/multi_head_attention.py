"""`MultiHeadAttention`: attention by several heads side by side."""

from __future__ import annotations

import math
import string
from typing import Any

from fastk.graph import KerasTensor
from fastk.layers.attention.heads import Heads


class MultiHeadAttention(Heads):
    """Each head attends with its own projections of queries, keys and values; the results are projected back.

    Args:
        num_heads: the number of heads.
        key_dim: the size of a query and a key in a head.
        value_dim: the size of a value in a head; by default `key_dim`.
        dropout: the share of weights dropped in training.
        use_bias: whether the projections have biases.
        output_shape: the features of the output: a size or several; by default those of the queries.
        attention_axes: the axes that are attended along; by default all but the batch and the features.
        sliding_window: how far a query sees; None is everywhere.
        flash_attention: whether to insist on (True), or rule out (False), the flash implementation.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the projections.
        kernel_constraint, bias_constraint: projections of the weights after each step.
        use_gate: whether each head's result is multiplied by a sigmoid of the query.
        seed: an integer makes the dropped weights the same in every run.

    Call arguments: `query` `(batch, queries, features)`, `value` `(batch, keys, features)`, `key` (by default `value`),
    `attention_mask` `(batch, queries, keys)`, True where a query may see a key, `use_causal_mask`,
    `return_attention_scores`, `training`.

    Source: Vaswani et al., 2017, "Attention is all you need".

    >>> import fastk
    >>> layer = fastk.layers.MultiHeadAttention(num_heads=2, key_dim=4)
    >>> layer(fastk.ops.ones((1, 5, 8)), fastk.ops.ones((1, 3, 8))).shape
    torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
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
        for name, size in (("num_heads", num_heads), ("key_dim", key_dim), ("value_dim", value_dim)):
            if not (name == "value_dim" and size is None) and (not isinstance(size, int) or size <= 0):
                expected = "a positive integer or `None`" if name == "value_dim" else "a positive integer"
                raise ValueError(
                    f"Received an invalid value for argument `{name}`, expected {expected}. Received: {name}={size}"
                )
        super().__init__(**kwargs)
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
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim or key_dim
        self._scale = 1.0 / math.sqrt(key_dim)
        self._output_shape = _sizes("output_shape", output_shape)
        self.attention_axes = _sizes("attention_axes", attention_axes)

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Makes and builds the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        self._check_lengths(value_shape, key_shape)
        self._query_dense = self._build_heads("query", query_shape, self.key_dim)
        self._key_dense = self._build_heads("key", key_shape, self.key_dim)
        if self.use_gate:
            self._gate_dense = self._build_heads("gate", query_shape, self.value_dim, activation="sigmoid")
        self._value_dense = self._build_heads("value", value_shape, self.value_dim)
        rank = len(value_shape) + 1
        axes = self.attention_axes or tuple(range(1, rank - 2))
        self.attention_axes = axes = tuple(axis if axis >= 0 else rank - 1 + axis for axis in axes)
        self._axes_count = len(axes)
        self._set_equations(rank, axes)
        features = self._output_shape or (query_shape[-1],)
        outer = string.ascii_lowercase[: len(query_shape) - 1]
        inner, made = "yz", string.ascii_uppercase[: len(features)]
        self._output_dense = self._projection(
            "attention_output",
            f"{outer}{inner},{inner}{made}->{outer}{made}",
            (*(None,) * (len(query_shape) - 2), *features),
            made,
        )
        self._output_dense.build((*query_shape[:-1], self.num_heads, self.value_dim))
        self._build_attention(tuple(range(-len(axes), 0)))

    def _build_heads(self, name: str, shape: Any, size: int, **kwargs: Any) -> Any:
        outer = string.ascii_lowercase[: len(shape) - 1]
        sizes = (*(None,) * (len(shape) - 2), self.num_heads, size)
        projection = self._projection(name, f"{outer}x,xyz->{outer}yz", sizes, "yz", **kwargs)
        projection.build(shape)
        return projection

    def _set_equations(self, rank: int, axes: tuple[int, ...]) -> None:
        """The einsums of tensors `(batch, ..., heads, size)`: queries with keys, and weights with values."""
        target = string.ascii_lowercase[:rank]
        source = "".join(letter.upper() if i in axes else letter for i, letter in enumerate(target))
        batch = "".join(letter for i, letter in enumerate(target[:-1]) if i not in axes)
        scores = batch + "".join(target[i] for i in axes) + "".join(source[i] for i in axes)
        self._dot_product_equation = f"{target},{source}->{scores}"
        self._combine_equation = f"{scores},{source}->{target}"

    @property
    def query_dense(self) -> Any:
        """The projection of the queries."""
        return self._query_dense

    @property
    def key_dense(self) -> Any:
        """The projection of the keys."""
        return self._key_dense

    @property
    def value_dense(self) -> Any:
        """The projection of the values."""
        return self._value_dense

    @property
    def output_dense(self) -> Any:
        """The projection of the heads' results."""
        return self._output_dense

    def _attends_along_one_axis(self) -> bool:
        return self.attention_axes == (1,)

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> tuple:
        """The queries' shape, with the output's features."""
        self._check_lengths(value_shape, value_shape if key_shape is None else key_shape)
        return (*query_shape[:-1], *self._output_shape) if self._output_shape else tuple(query_shape)

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, *, return_attention_scores: bool = False, **kwargs: Any
    ) -> Any:
        """KerasTensors like the outputs."""
        shape = self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape)
        outputs = KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        axes = self.attention_axes or tuple(range(1, len(value.shape) - 1))
        batch = [size for i, size in enumerate(query.shape[:-1]) if i not in axes]
        scores = (*batch, self.num_heads, *(query.shape[i] for i in axes), *(value.shape[i] for i in axes))
        return outputs, KerasTensor(scores, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_shape": self._output_shape,
            "attention_axes": self.attention_axes,
        }


def _sizes(name: str, value: Any) -> tuple[int, ...] | None:
    if not value:
        return None
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"Invalid `{name}`: {value}. When specified, `{name}` should be of type tuple, list, or int.")
    return tuple(value)
