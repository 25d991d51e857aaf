"""Counts of right and wrong decisions, and precision and recall made of them."""

from __future__ import annotations

from typing import Any

import torch

from fastk import budget
from fastk.losses.reduction import divide_no_nan
from fastk.metrics.counts import NEGATIVE_INFINITY, THRESHOLD_SIZE, ConfusionMetric, checked_thresholds


class _Count(ConfusionMetric):
    """Base of metrics that are one of the four counts."""

    _counted: str

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.thresholds = checked_thresholds(thresholds, default=0.5)
        self._set_thresholds(self.thresholds)
        self.accumulator = self.add_variable(shape=(len(self.thresholds),), name="accumulator")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch: targets 0 and 1, predictions in [0, 1], weights that broadcast from the left."""
        self._count({self._counted: self.accumulator}, y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """The count, or one for each threshold."""
        counts = self.accumulator.value
        return counts[0].clone() if len(self.thresholds) == 1 else counts

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"thresholds": self.init_thresholds}


class FalsePositives(_Count):
    """How many predictions above the threshold are wrong.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1]))
    2.0
    """

    _counted = "false_positives"


class FalseNegatives(_Count):
    """How many predictions below the threshold are wrong.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0]))
    2.0
    """

    _counted = "false_negatives"


class TrueNegatives(_Count):
    """How many predictions below the threshold are right.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0]))
    2.0
    """

    _counted = "true_negatives"


class TruePositives(_Count):
    """How many predictions above the threshold are right.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.TruePositives()([0, 1, 1, 1], [1, 0, 1, 1]))
    2.0
    """

    _counted = "true_positives"


class _Share(ConfusionMetric):
    """Base of precision and recall: true positives over themselves and one kind of error."""

    _direction = "up"
    _error: str

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self.thresholds = checked_thresholds(thresholds, default=0.5 if top_k is None else NEGATIVE_INFINITY)
        self._set_thresholds(self.thresholds)
        self._add_counts(("true_positives", self._error), (len(self.thresholds),))

    def result(self) -> Any:
        """The share, or one for each threshold; 0 where there is nothing to divide by."""
        right: torch.Tensor = self.true_positives.value
        share = divide_no_nan(right, right + getattr(self, self._error).value)
        return share[0] if len(self.thresholds) == 1 else share

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }


class Precision(_Share):
    """The share of positive predictions that are right.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        top_k: where given, the `k` largest predictions of a sample are the positive ones, whatever the threshold.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.Precision()([0, 1, 1, 1], [1, 0, 1, 1]).numpy().round(4))
    0.6667
    """

    _error = "false_positives"


class Recall(_Share):
    """The share of positive targets that are found.

    Args:
        thresholds: in [0, 1]: one (0.5 by default), or several, with one result each.
        top_k: where given, the `k` largest predictions of a sample are the positive ones, whatever the threshold.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.Recall()([0, 1, 1, 1], [1, 0, 1, 1]).numpy().round(4))
    0.6667
    """

    _error = "false_negatives"


class _BestUnderConstraint(ConfusionMetric):
    """Base of metrics that are the best of one rate among the thresholds where another is large enough.

    Args:
        argument: the name of the constructor's first argument.
        value: what the other rate must reach, in [0, 1].
    """

    _direction = "up"

    def __init__(
        self,
        argument: str,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        if value < 0 or value > 1:
            raise ValueError(f"Argument `{argument}` must be in the range [0, 1]. Received: {argument}={value}")
        if num_thresholds <= 0:
            raise ValueError(
                f"Argument `num_thresholds` must be an integer > 0. Received: num_thresholds={num_thresholds}"
            )
        super().__init__(name=name, dtype=dtype)
        setattr(self, argument, value)
        self._argument = argument
        self.value = value
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        single = num_thresholds == 1
        budget.take((num_thresholds,), THRESHOLD_SIZE, f"{type(self).__name__} with num_thresholds={num_thresholds}")
        self.thresholds = [0.5] if single else [i / (num_thresholds - 1) for i in range(num_thresholds)]
        self._set_thresholds(self.thresholds, even=not single)
        self._add_counts(self.COUNTS, (num_thresholds,))

    def _sensitivity(self) -> torch.Tensor:
        right = self.true_positives.value
        return divide_no_nan(right, right + self.false_negatives.value)

    def _specificity(self) -> torch.Tensor:
        right = self.true_negatives.value
        return divide_no_nan(right, right + self.false_positives.value)

    def _precision(self) -> torch.Tensor:
        right = self.true_positives.value
        return divide_no_nan(right, right + self.false_positives.value)

    def _best(self, rate: torch.Tensor, constrained: torch.Tensor) -> torch.Tensor:
        return rate.masked_fill(constrained < self.value, 0.0).amax().clamp_min(0.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "num_thresholds": self.num_thresholds,
            self._argument: self.value,
            "class_id": self.class_id,
        }


class SensitivityAtSpecificity(_BestUnderConstraint):
    """The best sensitivity (share of positives found) among thresholds with at least a given specificity.

    Args:
        specificity: share of negatives that must be kept out, in [0, 1].
        num_thresholds: how many thresholds are tried.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__("specificity", specificity, num_thresholds, class_id, name, dtype)

    def result(self) -> Any:
        """The best sensitivity, 0 where no threshold is specific enough."""
        return self._best(self._sensitivity(), self._specificity())


class SpecificityAtSensitivity(_BestUnderConstraint):
    """The best specificity (share of negatives kept out) among thresholds with at least a given sensitivity.

    Args:
        sensitivity: share of positives that must be found, in [0, 1].
        num_thresholds: how many thresholds are tried.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]).numpy().round(4))
    0.6667
    """

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__("sensitivity", sensitivity, num_thresholds, class_id, name, dtype)

    def result(self) -> Any:
        """The best specificity, 0 where no threshold is sensitive enough."""
        return self._best(self._specificity(), self._sensitivity())


class PrecisionAtRecall(_BestUnderConstraint):
    """The best precision among thresholds with at least a given recall.

    Args:
        recall: share of positives that must be found, in [0, 1].
        num_thresholds: how many thresholds are tried.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__("recall", recall, num_thresholds, class_id, name, dtype)

    def result(self) -> Any:
        """The best precision, 0 where no threshold finds enough."""
        return self._best(self._precision(), self._sensitivity())


class RecallAtPrecision(_BestUnderConstraint):
    """The best recall among thresholds with at least a given precision.

    Args:
        precision: share of positive predictions that must be right, in [0, 1].
        num_thresholds: how many thresholds are tried.
        class_id: where given, only this class is looked at.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]))
    0.5
    """

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__("precision", precision, num_thresholds, class_id, name, dtype)

    def result(self) -> Any:
        """The best recall, 0 where no threshold is precise enough."""
        return self._best(self._sensitivity(), self._precision())
