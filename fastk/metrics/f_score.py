"""F-scores: the weighted harmonic mean of precision and recall."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.metrics.metric import Metric, accumulate
from fastk.metrics.reduction import detached
from fastk.tensor import convert_to_tensor


def check_2d(metric: str, y_true: torch.Tensor, y_pred: torch.Tensor) -> None:
    """Raises unless both are `(batch, outputs)`."""
    if y_pred.ndim != 2 or y_true.ndim != 2:
        raise ValueError(
            f"{metric} expects 2D inputs with shape (batch_size, output_dim). Received input shapes: "
            f"y_pred.shape={tuple(y_pred.shape)} and y_true.shape={tuple(y_true.shape)}."
        )


class FBetaScore(Metric):
    """`(1 + beta**2) * precision * recall / (beta**2 * precision + recall)`.

    Args:
        average: None (a score for each class), `"micro"` (one over all), `"macro"` (the mean over classes) or
            `"weighted"` (the mean, classes weighing as many true samples as they have).
        beta: how many times as much recall counts as precision; a float above 0.
        threshold: above it a prediction means 1, in (0, 1]; None: a sample's largest prediction does.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> metric = fastk.metrics.FBetaScore(beta=2.0, threshold=0.5)
    >>> y_true, y_pred = [[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]
    >>> print(metric(y_true, y_pred).numpy().round(4))
    [0.3846 0.9091 0.8333]
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                "Invalid `average` argument value. Expected one of: {None, 'micro', 'macro', 'weighted'}. "
                f"Received: average={average}"
            )
        if not isinstance(beta, float):
            raise ValueError(
                "Invalid `beta` argument value. It should be a Python float. "
                f"Received: beta={beta} of type '{type(beta)}'"
            )
        if beta <= 0.0:
            raise ValueError(f"Invalid `beta` argument value. It should be > 0. Received: beta={beta}")
        if threshold is not None and not isinstance(threshold, float):
            raise ValueError(
                "Invalid `threshold` argument value. It should be a Python float. "
                f"Received: threshold={threshold} of type '{type(threshold)}'"
            )
        if threshold is not None and (threshold > 1.0 or threshold <= 0.0):
            raise ValueError(
                "Invalid `threshold` argument value. It should verify 0 < threshold <= 1. "
                f"Received: threshold={threshold}"
            )
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self._built = False

    def _build(self, classes: int) -> None:
        shape = () if self.average == "micro" else (classes,)

        def count(name: str) -> Any:
            return self.add_variable(shape=shape, dtype=self.dtype, name=name)

        self.true_positives = count("true_positives")
        self.false_positives = count("false_positives")
        self.false_negatives = count("false_negatives")
        self.intermediate_weights = count("intermediate_weights")
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch.

        Args:
            y_true: targets 0 and 1, `(batch, classes)`.
            y_pred: predictions, `(batch, classes)`.
            sample_weight: `(batch,)`.
        """
        y_true = convert_to_tensor(y_true, dtype=self._torch_dtype)
        y_pred = detached(y_pred).to(self._torch_dtype)
        check_2d(type(self).__name__, y_true, y_pred)
        if not self._built:
            self._build(y_pred.shape[1])
        if self.threshold is None:
            # All predictions 0 mean no class, not every one.
            decided = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            decided = y_pred > self.threshold
        weight = y_true if sample_weight is None else y_true * self._column(sample_weight)
        found = decided if sample_weight is None else decided * self._column(sample_weight)
        # Both over classes of a sample and, for "micro", over the classes.
        axes = (0, 1) if self.average == "micro" else (0,)
        true_positives = (decided * weight).sum(axes)
        accumulate(self.true_positives, true_positives)
        accumulate(self.false_positives, (found * (1 - y_true)).sum(axes))
        accumulate(self.false_negatives, (weight * ~decided).sum(axes))
        accumulate(self.intermediate_weights, weight.sum(axes))

    def _column(self, sample_weight: Any) -> torch.Tensor:
        return convert_to_tensor(sample_weight, dtype=self._torch_dtype).unsqueeze(1)

    def result(self) -> Any:
        """The score, or one for each class."""
        if not self._built:
            raise ValueError(f"{type(self).__name__} has no result before the first `update_state`.")
        epsilon = config.epsilon()
        right = self.true_positives.value
        precision = right / (right + self.false_positives.value + epsilon)
        recall = right / (right + self.false_negatives.value + epsilon)
        scores = (1 + self.beta**2) * precision * recall / (self.beta**2 * precision + recall + epsilon)
        if self.average == "weighted":
            weights = self.intermediate_weights.value
            return (scores * weights / (weights.sum() + epsilon)).sum()
        return scores if self.average is None else scores.mean()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall.

    Args:
        average: None (a score for each class), `"micro"`, `"macro"` or `"weighted"`, as in `FBetaScore`.
        threshold: above it a prediction means 1, in (0, 1]; None: a sample's largest prediction does.
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> metric = fastk.metrics.F1Score(threshold=0.5)
    >>> y_true, y_pred = [[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]
    >>> print(metric(y_true, y_pred).numpy().round(4))
    [0.5    0.8    0.6667]
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ):
        super().__init__(average=average, beta=1.0, threshold=threshold, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        result = super().get_config()
        del result["beta"]
        return result
