"""The area under the ROC, precision-recall or precision-recall-gain curve, by thresholds."""

from __future__ import annotations

from typing import Any

import torch

from fastk import budget, config
from fastk.losses.reduction import divide_no_nan
from fastk.metrics.counts import THRESHOLD_SIZE, ConfusionMetric, evenly_spaced
from fastk.metrics.reduction import detached
from fastk.tensor import convert_to_numpy, convert_to_tensor

CURVES = {"pr": "PR", "PR": "PR", "roc": "ROC", "ROC": "ROC", "prgain": "PRGAIN", "PRGAIN": "PRGAIN"}
METHODS = {name: method for method in ("interpolation", "majoring", "minoring") for name in (method, method.title())}


class AUC(ConfusionMetric):
    """The area under a curve of two rates, drawn through the points that thresholds give.

    Args:
        num_thresholds: how many thresholds, at equal distances; above 1.
        curve: `"ROC"` (true over false positive rate), `"PR"` (precision over recall; Davis and Goadrich 2006)
            or `"PRGAIN"` (their gains; Flach and Kull 2015).
        summation_method: between two points: `"interpolation"` (the mean of their heights; for `"PR"` an interpolation
            of the true positives), `"minoring"` (the lower one) or `"majoring"` (the higher one).
        name, dtype: as in `Metric`.
        thresholds: thresholds in place of `num_thresholds`, in [0, 1].
        multi_label: whether each column of `(batch, labels)` has an area of its own; the result is their mean.
        num_labels: the number of columns, where it should be known before the first batch.
        label_weights: a weight for each column.
        from_logits: whether predictions are logits.

    >>> import fastk
    >>> print(fastk.metrics.AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]))
    0.75
    """

    _direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        if curve not in CURVES:
            raise ValueError(f'Invalid AUC curve value: "{curve}". Expected values are ["PR", "ROC", "PRGAIN"]')
        if summation_method not in METHODS:
            raise ValueError(
                f'Invalid AUC summation method value: "{summation_method}". '
                'Expected values are ["interpolation", "majoring", "minoring"]'
            )
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(
                f"Argument `num_thresholds` must be an integer > 1. Received: num_thresholds={num_thresholds}"
            )
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        super().__init__(name=name, dtype=dtype)
        self.curve, self.summation_method = CURVES[curve], METHODS[summation_method]
        self._given_thresholds = None if thresholds is None else sorted(float(t) for t in thresholds)
        inner = self._given_thresholds
        if inner is None:
            budget.take((num_thresholds,), THRESHOLD_SIZE, f"AUC with num_thresholds={num_thresholds}")
            inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        even = self._given_thresholds is None or evenly_spaced([0.0, *inner, 1.0])
        self.num_thresholds = len(inner) + 2
        # Beyond the ends, for every prediction to be above the first threshold and below the last.
        self.thresholds = [0.0 - config.epsilon(), *inner, 1.0 + config.epsilon()]
        self._set_thresholds(self.thresholds, even=even)
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = (
            None if label_weights is None else convert_to_tensor(label_weights, dtype=self._torch_dtype)
        )
        self._from_logits = from_logits
        self._built = False
        if not multi_label:
            self._build((self.num_thresholds,))
        elif num_labels:
            self._build((self.num_thresholds, num_labels))

    def _build(self, shape: tuple[int, ...]) -> None:
        self._add_counts(self.COUNTS, shape)
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch.

        Args:
            y_true: targets 0 and 1, of the shape of `y_pred`.
            y_pred: predictions in [0, 1] (or logits); `(batch, labels)` where `multi_label`.
            sample_weight: weights that broadcast against the targets from the left.
        """
        y_pred = detached(y_pred)
        if not self._built:
            if y_pred.ndim != 2:
                raise ValueError(
                    f"`y_pred` must have rank 2 when `multi_label=True`. Found rank {y_pred.ndim}. Full shape received "
                    f"for `y_pred`: {tuple(y_pred.shape)}"
                )
            self._build((self.num_thresholds, y_pred.shape[1]))
        if self._from_logits:
            y_pred = y_pred.sigmoid()
        counts = {name: getattr(self, name) for name in self.COUNTS}
        label_weights = None if self.multi_label else self.label_weights
        self._count(counts, y_true, y_pred, sample_weight, self.multi_label, label_weights)

    def result(self) -> Any:
        """The area."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._over_labels(self.interpolate_pr_auc())
        x, y = self._curve()
        left, right = y[:-1], y[1:]
        if self.summation_method == "interpolation":
            heights = (left + right) / 2.0
        elif self.summation_method == "minoring":
            heights = torch.minimum(left, right)
        else:
            heights = torch.maximum(left, right)
        return self._over_labels((x[:-1] - x[1:]) * heights)

    def _curve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The points at the thresholds, from the right to the left."""
        tp, fp, tn, fn = (getattr(self, name).value for name in self.COUNTS)
        recall = divide_no_nan(tp, tp + fn)
        if self.curve == "ROC":
            return divide_no_nan(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, divide_no_nan(tp, tp + fp)
        odds = divide_no_nan(tp + fn, tn + fp)
        none = tp == 0
        recall_gain = (1.0 - odds * divide_no_nan(fn, tp)).masked_fill(none, 0.0)
        precision_gain = (1.0 - odds * divide_no_nan(fp, tp)).masked_fill(none, 1.0)
        return recall_gain.clamp_min(0.0), precision_gain

    def interpolate_pr_auc(self) -> torch.Tensor:
        """The precision-recall area of each interval, true positives taken as linear in all positives.

        Between thresholds A (higher) and B with TP = intercept + slope * P, the area is the integral of TP / P over
        the recall: `slope * (TP_B - TP_A + intercept * log(P_B / P_A)) / (TP + FN)` (Davis and Goadrich 2006).
        """
        tp, fp, _, fn = (getattr(self, name).value for name in self.COUNTS)
        positives = tp + fp
        gained = tp[:-1] - tp[1:]
        slope = divide_no_nan(gained, (positives[:-1] - positives[1:]).clamp_min(0.0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        ratio = divide_no_nan(positives[:-1], positives[1:].clamp_min(0.0)).masked_fill(~both, 1.0)
        return divide_no_nan(slope * (gained + intercept * ratio.log()), (tp[1:] + fn[1:]).clamp_min(0.0))

    def _over_labels(self, areas: torch.Tensor) -> torch.Tensor:
        if not self.multi_label:
            return areas.sum()
        by_label = areas.sum(0)
        if self.label_weights is None:
            return by_label.mean()
        return divide_no_nan((by_label * self.label_weights).sum(), self.label_weights.sum())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        weights = None if self.label_weights is None else convert_to_numpy(self.label_weights).tolist()
        result = super().get_config() | {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": weights,
            "from_logits": self._from_logits,
        }
        return result if self._given_thresholds is None else result | {"thresholds": self._given_thresholds}
