"""Correlations of targets and predictions."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.losses.arrays import matched
from fastk.metrics.reduction import FunctionMetric
from fastk.tensor import to_boundary


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """The covariance over the product of the standard deviations, along `axis`.

    >>> import fastk
    >>> print(fastk.metrics.pearson_correlation([[0.0, 1.0, 0.5]], [[0.0, 2.0, 1.0]]).numpy().round(4))
    [1.]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return to_boundary((_standardized(y_true, axis) * _standardized(y_pred, axis)).mean(axis))


def _standardized(x: torch.Tensor, axis: int) -> torch.Tensor:
    centered = x - x.mean(axis, keepdim=True)
    return centered / centered.std(axis, correction=0, keepdim=True)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """Twice the covariance over the sum of the variances and the squared difference of the means (Lin 1989).

    >>> import fastk
    >>> print(fastk.metrics.concordance_correlation([[0.0, 1.0, 0.5]], [[0.0, 1.0, 0.5]]).numpy().round(4))
    [1.]
    """
    y_true, y_pred = matched(y_true, y_pred)
    true_mean, pred_mean = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
    covariance = ((y_true - true_mean) * (y_pred - pred_mean)).mean(axis)
    spread = y_true.var(axis, correction=0) + y_pred.var(axis, correction=0)
    shift = (true_mean - pred_mean).square().squeeze(axis)
    return to_boundary(2 * covariance / (spread + shift + config.epsilon()))


class PearsonCorrelation(FunctionMetric):
    """The mean Pearson correlation of targets and predictions.

    Args:
        name, dtype: as in `Metric`.
        axis: the axis that samples of one correlation lie along.

    >>> import fastk
    >>> metric = fastk.metrics.PearsonCorrelation()
    >>> print(metric([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]).numpy().round(4))
    0.9967
    """

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(pearson_correlation, name, dtype, direction="up", axis=axis)


class ConcordanceCorrelation(FunctionMetric):
    """The mean concordance correlation of targets and predictions (Lin 1989).

    Args:
        name, dtype: as in `Metric`.
        axis: the axis that samples of one correlation lie along.

    >>> import fastk
    >>> metric = fastk.metrics.ConcordanceCorrelation()
    >>> print(metric([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]).numpy().round(4))
    0.9816
    """

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(concordance_correlation, name, dtype, direction="up", axis=axis)
