"""Category indices as indices, one-hot, multi-hot or counts: the output modes that categorical layers share."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, ops


def encoded(indices: torch.Tensor, mode: str, depth: int, dtype: Any, count_weights: Any = None) -> torch.Tensor:
    """Indices in an output mode; those below 0 or from `depth` on count for nothing.

    Args:
        indices: integers.
        mode: `"int"`; `"one_hot"`, of which a last axis of 1 becomes that of the classes; `"multi_hot"` or `"count"`
            of a sample's second axis.
        depth: the number of classes.
        dtype: of the result.
        count_weights: what an index counts, of the indices' shape.

    >>> import torch
    >>> from fastk.layers.preprocessing.encoding import encoded
    >>> encoded(torch.tensor([[0, 2, 2]]), "count", 4, "int64")
    tensor([[1, 0, 2, 0]])
    """
    if mode == "int":
        return indices.to(dtypes.to_torch_dtype(dtype))
    if indices.ndim == 0:
        indices = indices.unsqueeze(0)
    if mode == "multi_hot":
        return ops.multi_hot(indices, depth, dtype=dtype)
    if mode == "one_hot":
        if indices.ndim > 1 and indices.shape[-1] == 1:
            indices = indices.squeeze(-1)
        return ops.one_hot(indices, depth, dtype=dtype)
    axis = 1 if indices.ndim > 1 else 0
    if count_weights is None:
        return ops.one_hot(indices, depth, dtype=dtype).sum(axis).to(dtypes.to_torch_dtype(dtype))
    return (ops.one_hot(indices, depth, dtype=count_weights.dtype) * count_weights.unsqueeze(-1)).sum(axis)


def checked_output_mode(value: Any, allowed: tuple[str, ...], layer: str) -> str:
    """`value` by its present name, if it is allowed."""
    mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(value, value)
    if mode not in allowed:
        raise ValueError(
            f"Unknown value for `output_mode` argument of layer {layer}. Expected one of {allowed}. Received: "
            f"output_mode={value}"
        )
    return mode


def check_dense(sparse: bool) -> None:
    """Raises `ValueError` for sparse outputs."""
    if sparse:
        raise ValueError(
            "`sparse=True` can only be used with the TensorFlow backend. Sparse tensors are not supported here: leave "
            "`sparse` out; outputs are dense."
        )
