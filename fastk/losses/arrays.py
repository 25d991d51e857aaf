"""What losses and metrics do to their arguments first: tensors of one dtype and one rank."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config, dtypes, tree
from fastk.tensor import convert_to_tensor


def squeeze_or_expand_to_same_rank(
    x1: torch.Tensor, x2: torch.Tensor, expand_rank_1: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both tensors in one rank, where one of them merely has a last axis of size 1 more.

    Args:
        expand_rank_1: whether a vector gets that axis too, instead of the matrix losing it.
    """
    difference = x1.ndim - x2.ndim
    if difference == 1 and x1.shape[-1] == 1:
        if x2.ndim == 1 and expand_rank_1:
            return x1, x2.unsqueeze(-1)
        return x1.squeeze(-1), x2
    if difference == -1:
        x2, x1 = squeeze_or_expand_to_same_rank(x2, x1, expand_rank_1)
    return x1, x2


def floating(y_pred: Any) -> torch.Tensor:
    """Predictions as a tensor of a float type: integers become `floatx()`."""
    y_pred = convert_to_tensor(y_pred)
    return y_pred if y_pred.is_floating_point() else y_pred.to(dtypes.to_torch_dtype(config.floatx()))


def like_predictions(y_true: Any, y_pred: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and predictions as tensors of the predictions' float type."""
    y_pred = floating(y_pred)
    return convert_to_tensor(y_true, dtype=y_pred.dtype), y_pred


def matched(y_true: Any, y_pred: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and predictions as tensors of one float type and, where the last axis allows it, one rank."""
    return squeeze_or_expand_to_same_rank(*like_predictions(y_true, y_pred))


def as_tensors(structure: Any, dtype: Any) -> Any:
    """`structure` with its arrays as tensors of `dtype`; nested lists of numbers are one array.

    Args:
        dtype: a torch dtype, or None to keep each array's own.
    """
    if isinstance(structure, (list, tuple, dict)):
        has_arrays = any(getattr(leaf, "shape", ()) != () for leaf in tree.flatten(structure))
        if has_arrays or isinstance(structure, dict):
            return tree.map_structure(lambda x: convert_to_tensor(x, dtype=dtype), structure)
    return convert_to_tensor(structure, dtype=dtype)
