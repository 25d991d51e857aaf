"""Losses of maximum-margin classification."""

from __future__ import annotations

from typing import Any

import torch

from fastk.losses.arrays import like_predictions
from fastk.losses.loss import FunctionLoss
from fastk.tensor import to_boundary


def _shortfall(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`max(1 - y_true * y_pred, 0)` with targets -1 and 1; targets that are all 0 or 1 are mapped to those."""
    y_true, y_pred = like_predictions(y_true, y_pred)
    # The choice is made on the device: asking the host for it would stall the step.
    is_binary = ((y_true == 0) | (y_true == 1)).all()
    y_true = torch.where(is_binary, 2.0 * y_true - 1.0, y_true)
    return (1.0 - y_true * y_pred).clamp_min(0.0)


def hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(max(1 - y_true * y_pred, 0))` over the last axis.

    Args:
        y_true: targets -1 and 1, or 0 and 1, of the shape of `y_pred`.
        y_pred: scores.

    >>> import fastk
    >>> print(fastk.losses.hinge([[-1.0, 1.0]], [[0.5, 0.5]]))
    [1.]
    """
    return to_boundary(_shortfall(y_true, y_pred).mean(-1))


def squared_hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(max(1 - y_true * y_pred, 0)**2)` over the last axis.

    Args:
        y_true: targets -1 and 1, or 0 and 1, of the shape of `y_pred`.
        y_pred: scores.

    >>> import fastk
    >>> print(fastk.losses.squared_hinge([[-1.0, 1.0]], [[0.5, 0.5]]))
    [1.25]
    """
    return to_boundary(_shortfall(y_true, y_pred).square().mean(-1))


def categorical_hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`max(neg - pos + 1, 0)` of the score of the true class and the best score of another one.

    Args:
        y_true: one-hot targets, `(..., classes)`.
        y_pred: scores, of the same shape.

    >>> import fastk
    >>> print(fastk.losses.categorical_hinge([[0, 1]], [[0.5, 0.25]]))
    [1.25]
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    positive = (y_true * y_pred).sum(-1)
    negative = ((1.0 - y_true) * y_pred).amax(-1)
    return to_boundary((negative - positive + 1.0).clamp_min(0.0))


class Hinge(FunctionLoss):
    """The hinge loss; targets -1 and 1, or 0 and 1.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.Hinge()([[-1.0, 1.0]], [[0.5, 0.5]]))
    1.0
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "hinge", dtype: Any = None):
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(FunctionLoss):
    """The squared hinge loss; targets -1 and 1, or 0 and 1.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.SquaredHinge()([[-1.0, 1.0]], [[0.5, 0.5]]))
    1.25
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "squared_hinge", dtype: Any = None
    ):
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(FunctionLoss):
    """The hinge loss of one-hot targets.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.CategoricalHinge()([[0, 1]], [[0.5, 0.25]]))
    1.25
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "categorical_hinge", dtype: Any = None
    ):
        super().__init__(categorical_hinge, reduction, name, dtype)
