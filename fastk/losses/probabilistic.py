"""Losses of distributions: the Kullback-Leibler divergence and the Poisson likelihood."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.losses.arrays import like_predictions
from fastk.losses.loss import FunctionLoss
from fastk.tensor import to_boundary


def kl_divergence(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`sum(y_true * log(y_true / y_pred))` over the last axis, both clipped to [epsilon(), 1].

    >>> import fastk
    >>> print(fastk.losses.kl_divergence([[0.5, 0.5]], [[0.5, 0.5]]))
    [0.]
    """
    y_true, y_pred = (x.clamp(config.epsilon(), 1.0) for x in like_predictions(y_true, y_pred))
    return to_boundary((y_true * torch.log(y_true / y_pred)).sum(-1))


def poisson(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(y_pred - y_true * log(y_pred + epsilon()))` over the last axis: minus the log-likelihood of counts.

    Args:
        y_true: counts.
        y_pred: predicted rates, above 0.

    >>> import fastk
    >>> print(fastk.losses.poisson([[1.0, 2.0]], [[1.0, 1.0]]).numpy().round(3))
    [1.]
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    return to_boundary((y_pred - y_true * torch.log(y_pred + config.epsilon())).mean(-1))


class KLDivergence(FunctionLoss):
    """The Kullback-Leibler divergence of the predicted from the true distribution.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.KLDivergence()([[1.0, 0.0]], [[0.5, 0.5]]).numpy():.4f}")
    0.6931
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "kl_divergence", dtype: Any = None
    ):
        super().__init__(kl_divergence, reduction, name, dtype)


class Poisson(FunctionLoss):
    """Minus the log-likelihood of counts under predicted Poisson rates, less what does not depend on these.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.Poisson()([[1.0, 2.0]], [[1.0, 1.0]]).numpy():.3f}")
    1.000
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "poisson", dtype: Any = None):
        super().__init__(poisson, reduction, name, dtype)
