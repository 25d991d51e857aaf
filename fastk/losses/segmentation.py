"""Losses of overlapping regions: Dice and Tversky."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.losses.arrays import like_predictions
from fastk.losses.loss import FunctionLoss
from fastk.tensor import to_boundary


def _total(x: torch.Tensor, axis: Any) -> torch.Tensor:
    return x.sum() if axis is None else x.sum(axis)


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> torch.Tensor:
    """`1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred) + epsilon())`.

    Args:
        y_true: targets in [0, 1], of the shape of `y_pred`.
        y_pred: predictions in [0, 1].
        axis: the axis or axes of the sums; None is all.

    >>> import fastk
    >>> print(fastk.losses.dice([[1.0, 0.0]], [[1.0, 1.0]]).numpy().round(4))
    0.3333
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    size = _total(y_true, axis) + _total(y_pred, axis)
    return to_boundary(1.0 - 2.0 * _total(y_true * y_pred, axis) / (size + config.epsilon()))


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> torch.Tensor:
    """`1 - both / (both + alpha * missed + beta * wrong)`, Dice's where both weights are 0.5 (Salehi et al. 2017).

    Args:
        y_true: targets in [0, 1], of the shape of `y_pred`.
        y_pred: predictions in [0, 1].
        alpha: the weight of what is true and not predicted.
        beta: the weight of what is predicted and not true.
        axis: the axis or axes of the sums; None is all.

    >>> import fastk
    >>> print(fastk.losses.tversky([[1.0, 0.0]], [[1.0, 1.0]], beta=1.0))
    0.5
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    both = _total(y_true * y_pred, axis)
    missed = _total((1.0 - y_pred) * y_true, axis)
    wrong = _total(y_pred * (1.0 - y_true), axis)
    return to_boundary(1.0 - both / (both + alpha * missed + beta * wrong + config.epsilon()))


class Dice(FunctionLoss):
    """The Dice loss: 1 minus twice the overlap over the sum of the sizes.

    Args:
        reduction, name: as in `Loss`.
        axis: the axis or axes of the sums; None is all.
        dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.Dice()([[1.0, 0.0]], [[1.0, 1.0]]).numpy():.4f}")
    0.3333
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(dice, reduction, name, dtype, axis=axis)


class Tversky(FunctionLoss):
    """The Tversky loss: the Dice loss with weights on what is missed and what is wrong (Salehi et al. 2017).

    Args:
        alpha: the weight of what is true and not predicted.
        beta: the weight of what is predicted and not true.
        reduction, name: as in `Loss`.
        axis: the axis or axes of the sums; None is all.
        dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.Tversky(beta=1.0)([[1.0, 0.0]], [[1.0, 1.0]]).numpy():.4f}")
    0.5000
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
