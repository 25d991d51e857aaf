"""Losses of numbers: squared, absolute, relative and logarithmic errors, Huber, log-cosh, cosine similarity."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from fastk import config
from fastk.losses.arrays import matched
from fastk.losses.loss import FunctionLoss, Loss, average_of
from fastk.tensor import to_boundary


def mean_squared_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean((y_true - y_pred)**2)` over the last axis.

    Args:
        y_true: targets, of the shape of `y_pred`.
        y_pred: predictions, `(..., features)`.

    >>> import fastk
    >>> print(fastk.losses.mean_squared_error([[0.0, 1.0]], [[1.0, 3.0]]))
    [2.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return to_boundary((y_pred - y_true).square().mean(-1))


def mean_absolute_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(abs(y_true - y_pred))` over the last axis.

    >>> import fastk
    >>> print(fastk.losses.mean_absolute_error([[0.0, 1.0]], [[1.0, 3.0]]))
    [1.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return to_boundary((y_pred - y_true).abs().mean(-1))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`100 * mean(abs((y_true - y_pred) / y_true))` over the last axis; a target of 0 counts as `epsilon()`.

    >>> import fastk
    >>> print(fastk.losses.mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 3.0]]))
    [37.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    relative = (y_true - y_pred) / y_true.abs().clamp_min(config.epsilon())
    return to_boundary(100.0 * relative.abs().mean(-1))


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean((log(y_true + 1) - log(y_pred + 1))**2)` over the last axis; what is below `epsilon()` counts as that.

    >>> import fastk
    >>> print(fastk.losses.mean_squared_logarithmic_error([[1.0, 3.0]], [[1.0, 3.0]]))
    [0.]
    """
    y_true, y_pred = matched(y_true, y_pred)
    epsilon = config.epsilon()
    difference = torch.log(y_pred.clamp_min(epsilon) + 1) - torch.log(y_true.clamp_min(epsilon) + 1)
    return to_boundary(difference.square().mean(-1))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> torch.Tensor:
    """Squared for small errors, linear for large ones (Huber 1964), the mean over the last axis.

    `0.5 * e**2` where `abs(e) <= delta`, else `delta * abs(e) - 0.5 * delta**2`.

    Args:
        delta: where the one turns into the other; above 0.

    >>> import fastk
    >>> print(fastk.losses.huber([[0.0, 0.0]], [[1.0, 3.0]]))
    [1.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    error = (y_pred - y_true).abs()
    return to_boundary(torch.where(error <= delta, 0.5 * error.square(), delta * error - 0.5 * delta**2).mean(-1))


def log_cosh(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(log(cosh(y_pred - y_true)))` over the last axis: near 0 half the square, far away `abs(e) - log(2)`.

    >>> import fastk
    >>> print(fastk.losses.log_cosh([[0.0, 1.0]], [[0.0, 1.0]]))
    [0.]
    """
    y_true, y_pred = matched(y_true, y_pred)
    error = y_pred - y_true
    # log(cosh(e)) = e + log(1 + exp(-2e)) - log(2), which overflows nowhere.
    return to_boundary((error + functional.softplus(-2.0 * error) - math.log(2.0)).mean(-1))


def normalized(x: torch.Tensor, axis: int) -> torch.Tensor:
    """`x` scaled to length 1 along `axis`; a zero vector stays zero."""
    return functional.normalize(x, dim=axis, eps=config.epsilon())


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """Minus the cosine of the angle between targets and predictions: -1 where they point one way, 1 opposite.

    Args:
        axis: the vectors' axis.

    >>> import fastk
    >>> print(fastk.losses.cosine_similarity([[0.0, 2.0]], [[0.0, 3.0]]))
    [-1.]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return to_boundary(-(normalized(y_true, axis) * normalized(y_pred, axis)).sum(axis))


# One fused operation forward and one backward, where nothing is broadcast; mean over axes is the mean over all.


@average_of(mean_squared_error)
def _mean_squared_error(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
    return functional.mse_loss(y_pred, y_true) if y_true.shape == y_pred.shape and y_true.numel() else None


@average_of(mean_absolute_error)
def _mean_absolute_error(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
    return functional.l1_loss(y_pred, y_true) if y_true.shape == y_pred.shape and y_true.numel() else None


class MeanSquaredError(FunctionLoss):
    """The mean of the squared errors.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]))
    0.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ):
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(FunctionLoss):
    """The mean of the absolute errors.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.MeanAbsoluteError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]))
    0.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
        dtype: Any = None,
    ):
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(FunctionLoss):
    """The mean of the absolute errors in percent of the targets.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]]))
    25.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_percentage_error",
        dtype: Any = None,
    ):
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(FunctionLoss):
    """The mean of the squared differences of `log(x + 1)`.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 1.0]]).numpy():.4f}")
    0.2402
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ):
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Huber(FunctionLoss):
    """Squared for errors up to `delta`, linear beyond (Huber 1964).

    Args:
        delta: where the one turns into the other.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.Huber()([[0.0, 0.0]], [[1.0, 3.0]]))
    1.5
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(huber, reduction, name, dtype, optional={"delta": 1.0}, delta=delta)


class LogCosh(FunctionLoss):
    """The mean of the logarithms of the errors' hyperbolic cosines.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.LogCosh()([[0.0, 1.0]], [[1.0, 1.0]]).numpy():.4f}")
    0.2169
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "log_cosh", dtype: Any = None):
        super().__init__(log_cosh, reduction, name, dtype)


class CosineSimilarity(FunctionLoss):
    """Minus the cosine of the angle between targets and predictions, between -1 and 1; 0 for a zero vector.

    Args:
        axis: the vectors' axis.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.CosineSimilarity()([[0.0, 1.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 1.0]]))
    -0.5
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ):
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; like Keras's, without the axis."""
        return Loss.get_config(self)
