"""Metrics of predicted numbers."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from fastk import losses
from fastk.losses.arrays import matched, squeeze_or_expand_to_same_rank
from fastk.losses.regression import normalized
from fastk.metrics.f_score import check_2d
from fastk.metrics.metric import Metric, accumulate
from fastk.metrics.reduction import FunctionMetric, Mean, detached
from fastk.tensor import convert_to_tensor


class MeanSquaredError(FunctionMetric):
    """The mean of the squared errors.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.MeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]]))
    0.25
    """

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None):
        super().__init__(losses.mean_squared_error, name, dtype)


class MeanAbsoluteError(FunctionMetric):
    """The mean of the absolute errors.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.MeanAbsoluteError()([[0, 1], [0, 0]], [[1, 1], [0, 0]]))
    0.25
    """

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None):
        super().__init__(losses.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(FunctionMetric):
    """The mean of the absolute errors in percent of the targets.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]]))
    25.0
    """

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: Any = None):
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(FunctionMetric):
    """The mean of the squared differences of `log(x + 1)`.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.MeanSquaredLogarithmicError()([[0, 1], [0, 0]], [[1, 1], [0, 0]]).numpy().round(4))
    0.1201
    """

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: Any = None):
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(FunctionMetric):
    """The mean of the logarithms of the errors' hyperbolic cosines.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.LogCoshError()([[0, 1], [0, 0]], [[1, 1], [0, 0]]).numpy().round(4))
    0.1084
    """

    def __init__(self, name: str | None = "logcosh", dtype: Any = None):
        super().__init__(losses.log_cosh, name, dtype)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """The cosine of the angle between targets and predictions (the loss of this name is minus it)."""
    y_true, y_pred = matched(y_true, y_pred)
    return (normalized(y_true, axis) * normalized(y_pred, axis)).sum(axis)


class CosineSimilarity(FunctionMetric):
    """The mean cosine of the angle between targets and predictions.

    Args:
        name, dtype: as in `Metric`.
        axis: the vectors' axis.

    >>> import fastk
    >>> metric = fastk.metrics.CosineSimilarity(axis=1)
    >>> print(metric([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]).numpy().round(4))
    0.5
    """

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1):
        super().__init__(cosine_similarity, name, dtype, direction="up", optional={"axis": -1}, axis=axis)


class RootMeanSquaredError(Mean):
    """The square root of the mean of the squared errors.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.RootMeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]]))
    0.5
    """

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None):
        super().__init__(name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch of targets and predictions of one shape, and weights that broadcast from the left."""
        y_true = convert_to_tensor(y_true, dtype=self._torch_dtype)
        y_pred = detached(y_pred).to(self._torch_dtype)
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        super().update_state((y_pred - y_true).square(), sample_weight)

    def result(self) -> Any:
        """The root of the mean so far."""
        return super().result().sqrt()


class R2Score(Metric):
    """The coefficient of determination: 1 minus the residual over the total sum of squares.

    Args:
        class_aggregation: `"uniform_average"` (the mean over outputs), `"variance_weighted_average"` or None (a score
            for each output).
        num_regressors: where above 0, the score is adjusted for this many independent variables.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.R2Score()([[1], [4], [3]], [[2], [4], [4]]).numpy().round(4))
    0.5714
    """

    _direction = "up"
    AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if class_aggregation not in self.AGGREGATIONS:
            raise ValueError(
                f"Invalid value for argument `class_aggregation`. Expected one of {self.AGGREGATIONS}. "
                f"Received: class_aggregation={class_aggregation}"
            )
        if num_regressors < 0:
            raise ValueError(
                "Invalid value for argument `num_regressors`. Expected a value >= 0. "
                f"Received: num_regressors={num_regressors}"
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self.add_variable(name="num_samples")
        self._built = False

    def _build(self, outputs: int) -> None:
        self.squared_sum = self.add_variable(name="squared_sum", shape=(outputs,))
        self.sum = self.add_variable(name="sum", shape=(outputs,))
        self.total_mse = self.add_variable(name="residual", shape=(outputs,))
        self.count = self.add_variable(name="count", shape=(outputs,))
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch.

        Args:
            y_true: targets, `(batch, outputs)`.
            y_pred: predictions, `(batch, outputs)`.
            sample_weight: `(batch,)`, or what broadcasts to the targets.
        """
        y_true = convert_to_tensor(y_true, dtype=self._torch_dtype)
        y_pred = detached(y_pred).to(self._torch_dtype)
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        check_2d("R2Score", y_true, y_pred)
        if not self._built:
            self._build(y_pred.shape[1])
        weight = torch.ones_like(y_true)
        if sample_weight is not None:
            sample_weight = convert_to_tensor(sample_weight, dtype=self._torch_dtype)
            weight = weight * (sample_weight.unsqueeze(1) if sample_weight.ndim == 1 else sample_weight)
        weighted = y_true * weight
        accumulate(self.sum, weighted.sum(0))
        accumulate(self.squared_sum, (y_true * weighted).sum(0))
        accumulate(self.total_mse, ((y_true - y_pred).square() * weight).sum(0))
        accumulate(self.count, weight.sum(0))
        accumulate(self.num_samples, y_true.numel())

    def result(self) -> Any:
        """The score, or one for each output."""
        if not self._built:
            raise ValueError("R2Score has no result before the first `update_state`.")
        total = self.squared_sum.value - self.sum.value.square() / self.count.value
        scores = 1 - self.total_mse.value / total
        scores = scores.masked_fill(scores.isinf(), 0.0)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (total * scores).sum() / total.sum()
        return self._adjusted(scores) if self.num_regressors else scores

    def _adjusted(self, scores: torch.Tensor) -> torch.Tensor:
        left = int(self.num_samples.value) - 1 - self.num_regressors
        if left < 0:
            warnings.warn(
                "More independent predictors than datapoints in adjusted R2 score. Falling back to standard R2 score.",
                stacklevel=4,
            )
            return scores
        if left == 0:
            warnings.warn(
                "Division by zero in Adjusted R2 score. Falling back to standard R2 score.",
                stacklevel=4,
            )
            return scores
        return 1.0 - (1.0 - scores) * (left + self.num_regressors) / left

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }
