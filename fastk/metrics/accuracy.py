"""Accuracies: the share of predictions that are right.

The functions named `..._matches` give bool, which the metrics count as it is; the public ones give `floatx()`.
"""

from __future__ import annotations

from typing import Any

import torch

from fastk import config, dtypes
from fastk.losses.arrays import squeeze_or_expand_to_same_rank
from fastk.metrics.reduction import FunctionMetric
from fastk.tensor import convert_to_tensor, to_boundary


def _as_numbers(matches: torch.Tensor) -> torch.Tensor:
    return to_boundary(matches.to(dtypes.to_torch_dtype(config.floatx())))


def matches(y_true: Any, y_pred: Any) -> torch.Tensor:
    """Where targets and predictions are equal."""
    y_pred = convert_to_tensor(y_pred)
    y_true, y_pred = squeeze_or_expand_to_same_rank(convert_to_tensor(y_true, dtype=y_pred.dtype), y_pred)
    return y_true == y_pred


def accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where targets and predictions are equal, else 0."""
    return _as_numbers(matches(y_true, y_pred))


def binary_matches(y_true: Any, y_pred: Any, threshold: float = 0.5) -> torch.Tensor:
    """Where a prediction is on the target's side of the threshold."""
    y_true, y_pred = squeeze_or_expand_to_same_rank(convert_to_tensor(y_true), convert_to_tensor(y_pred))
    return y_true == (y_pred > threshold)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> torch.Tensor:
    """1 where a prediction is on the target's side of the threshold, else 0.

    Args:
        y_true: targets 0 and 1, of the shape of `y_pred`.
        y_pred: predictions.
        threshold: above it a prediction means 1.

    >>> import fastk
    >>> print(fastk.metrics.binary_accuracy([[1], [0]], [[0.9], [0.6]]))
    [[1.]
     [0.]]
    """
    return _as_numbers(binary_matches(y_true, y_pred, threshold))


def categorical_matches(y_true: Any, y_pred: Any) -> torch.Tensor:
    """Where the largest prediction is at the largest target."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    return y_true.argmax(-1) == y_pred.argmax(-1)


def categorical_accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where the largest prediction is at the largest target, else 0.

    Args:
        y_true: one-hot targets, `(..., classes)`.
        y_pred: predictions, of the same shape.

    >>> import fastk
    >>> print(fastk.metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]))
    [1. 0.]
    """
    return _as_numbers(categorical_matches(y_true, y_pred))


def sparse_categorical_matches(y_true: Any, y_pred: Any) -> torch.Tensor:
    """Where the largest prediction is at the target class."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    return y_true == y_pred.argmax(-1)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where the largest prediction is at the target class, else 0.

    Args:
        y_true: class numbers, `(...)` or `(..., 1)`.
        y_pred: predictions, `(..., classes)`.

    >>> import fastk
    >>> print(fastk.metrics.sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.3, 0.7]]))
    [1. 0.]
    """
    return _as_numbers(sparse_categorical_matches(y_true, y_pred))


def in_top_k(classes: torch.Tensor, y_pred: torch.Tensor, k: int) -> torch.Tensor:
    """Whether fewer than `k` predictions are above that of the class; a tie counts as in, NaN does not."""
    own = y_pred.gather(-1, classes.unsqueeze(-1))
    others = y_pred.shape[-1] - min(k, y_pred.shape[-1])
    return (y_pred <= own).sum(-1) > others


def top_k_matches(y_true: Any, y_pred: Any, k: int = 5) -> torch.Tensor:
    """Where the largest target is among the `k` largest predictions."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    return in_top_k(y_true.argmax(-1), y_pred, k)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> torch.Tensor:
    """1 where the class of the largest target is among the `k` largest predictions, else 0.

    Args:
        y_true: one-hot targets, `(..., classes)`.
        y_pred: predictions, of the same shape.
        k: how many predictions count.

    >>> import fastk
    >>> print(fastk.metrics.top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.2, 0.3]], k=2))
    [1.]
    """
    return _as_numbers(top_k_matches(y_true, y_pred, k))


def sparse_top_k_matches(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> torch.Tensor:
    """Where the target class is among the `k` largest predictions."""
    y_pred = convert_to_tensor(y_pred)
    if from_sorted_ids:
        y_true = convert_to_tensor(y_true, dtype=y_pred.dtype)
        return (y_true.unsqueeze(-1) == y_pred[..., :k]).any(-1)
    return in_top_k(convert_to_tensor(y_true, dtype=torch.int64), y_pred, k)


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> torch.Tensor:
    """1 where the target class is among the `k` largest predictions, else 0.

    Args:
        y_true: class numbers, `(...)`.
        y_pred: predictions, `(..., classes)`; or class numbers, the best first.
        k: how many predictions count.
        from_sorted_ids: whether `y_pred` holds class numbers.

    >>> import fastk
    >>> print(fastk.metrics.sparse_top_k_categorical_accuracy([2, 1], [[0.5, 0.2, 0.3]] * 2, k=2))
    [1. 0.]
    """
    return _as_numbers(sparse_top_k_matches(y_true, y_pred, k, from_sorted_ids))


class Accuracy(FunctionMetric):
    """The share of predictions that equal the targets.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> metric = fastk.metrics.Accuracy()
    >>> metric.update_state([1, 2, 3, 4], [0, 2, 3, 4])
    >>> print(f"{metric.result().numpy():.2f}")
    0.75
    """

    def __init__(self, name: str | None = "accuracy", dtype: Any = None):
        super().__init__(matches, name, dtype, direction="up")


class BinaryAccuracy(FunctionMetric):
    """The share of predictions on the targets' side of a threshold.

    Args:
        name, dtype: as in `Metric`.
        threshold: above it a prediction means 1.

    >>> import fastk
    >>> print(fastk.metrics.BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]]))
    0.75
    """

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5):
        super().__init__(binary_matches, name, dtype, direction="up", threshold=threshold)


class CategoricalAccuracy(FunctionMetric):
    """The share of samples whose largest prediction is at the one-hot target.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]))
    0.5
    """

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None):
        super().__init__(categorical_matches, name, dtype, direction="up")


class SparseCategoricalAccuracy(FunctionMetric):
    """The share of samples whose largest prediction is at the target class.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.SparseCategoricalAccuracy()([2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]]))
    0.5
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(sparse_categorical_matches, name, dtype, direction="up")


class TopKCategoricalAccuracy(FunctionMetric):
    """The share of samples whose one-hot target is among the `k` largest predictions.

    Args:
        k: how many predictions count.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> metric = fastk.metrics.TopKCategoricalAccuracy(k=1)
    >>> print(metric([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]))
    0.5
    """

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None):
        super().__init__(top_k_matches, name, dtype, direction="up", k=k)


class SparseTopKCategoricalAccuracy(FunctionMetric):
    """The share of samples whose target class is among the `k` largest predictions.

    Args:
        k: how many predictions count.
        name, dtype: as in `Metric`.
        from_sorted_ids: whether predictions are class numbers, the best first.

    >>> import fastk
    >>> print(fastk.metrics.SparseTopKCategoricalAccuracy(k=1)([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]))
    0.5
    """

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ):
        super().__init__(
            sparse_top_k_matches,
            name,
            dtype,
            direction="up",
            optional={"from_sorted_ids": False},
            k=k,
            from_sorted_ids=from_sorted_ids,
        )
