"""The counts that precision, recall, AUC and their kin are made of, at any number of thresholds in one pass.

With N predictions p (in L independent columns), truths t in {0, 1}, weights w and T thresholds h:

    tp[i] = sum_n w t [p > h_i]        fp[i] = sum_n w (1 - t) [p > h_i]
    fn[i] = sum_n w t - tp[i]          tn[i] = sum_n w (1 - t) - fp[i]

Many thresholds at equal distances take a histogram and its reversed cumulative sum, O(N + T) in place of O(N T).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import config, dtypes
from fastk import device as devices
from fastk.losses.arrays import squeeze_or_expand_to_same_rank
from fastk.metrics.metric import Metric, accumulate
from fastk.metrics.reduction import detached
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

# What a prediction counts as that is not among the `top_k`.
THRESHOLD_SIZE = 128
"""Bytes that a threshold takes: in lists, in tensors, in the counts of its confusion matrix."""
NEGATIVE_INFINITY = -1e10


def checked_thresholds(thresholds: Any, default: float) -> list[float]:
    """`thresholds`, one or several in [0, 1], as a list; `default` where None."""
    if thresholds is None:
        return [default]
    thresholds = list(thresholds) if isinstance(thresholds, (list, tuple, np.ndarray)) else [thresholds]
    wrong = [t for t in thresholds if t is None or t < 0 or t > 1]
    if wrong:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {wrong}")
    return thresholds


def evenly_spaced(thresholds: list[float]) -> bool:
    """Whether there are at least three, at equal distances from 0 to 1."""
    if len(thresholds) < 3:
        return False
    even = np.linspace(0.0, 1.0, len(thresholds), dtype=np.float32)
    return bool(np.allclose(thresholds, even, atol=config.epsilon()))


class Thresholds:
    """Thresholds on the device, and how predictions are compared with them.

    Args:
        values: the thresholds, ascending where they are many.
        even: whether they are at equal distances from 0 to 1, but for an epsilon at the ends.
    """

    def __init__(self, values: list[float], even: bool):
        self.even = even
        self.size = len(values)
        # A prediction of 0 is above the first threshold where that is below 0.
        self._lowest = 1 if values[0] < 0.0 else 0
        # Made once: a copy from the host at every batch would stall the device.
        self.tensor = torch.tensor(values, dtype=dtypes.to_torch_dtype(config.floatx()), device=devices.get_device())

    def above(self, y_pred: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The sums of the weights of what is above each threshold.

        Args:
            y_pred: predictions, `(n, columns)`.
            weights: `(kinds, n, columns)`.

        Returns:
            `(kinds, thresholds, columns)`.
        """
        if self.even:
            return self._histogram(y_pred, weights)
        exceeds = y_pred > self.tensor.to(y_pred.dtype).view(-1, 1, 1)  # [thresholds, n, columns]
        return (exceeds * weights.unsqueeze(1)).sum(2)

    def _histogram(self, y_pred: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        # Bucket b holds what is above exactly b thresholds.
        bucket = torch.ceil(y_pred.clamp(0.0, 1.0) * (self.size - 1)).to(torch.int64)
        # NaN, which no integer stands for, goes into the lowest bucket, not out of bounds.
        index = bucket.clamp(self._lowest, self.size - 1).expand_as(weights)
        histogram = weights.new_zeros(weights.shape[0], self.size + 1, weights.shape[2]).scatter_add_(1, index, weights)
        return histogram.flip(1).cumsum(1).flip(1)[:, 1:]


class ConfusionMetric(Metric):
    """Base of metrics made of counts: a subclass has some of the four counts as attributes, under these names."""

    COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    true_positives: Variable
    false_positives: Variable
    true_negatives: Variable
    false_negatives: Variable

    top_k: int | None = None
    class_id: int | None = None

    def _set_thresholds(self, values: list[float], even: bool | None = None) -> None:
        self._thresholds = Thresholds(values, evenly_spaced(values) if even is None else even)

    def _add_counts(self, names: tuple[str, ...], shape: tuple[int, ...]) -> None:
        for name in names:
            setattr(self, name, self.add_variable(shape=shape, name=name))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch.

        Args:
            y_true: targets 0 and 1, of the shape of `y_pred`.
            y_pred: predictions in [0, 1].
            sample_weight: weights that broadcast against the targets from the left.
        """
        counts = {name: getattr(self, name) for name in self.COUNTS if hasattr(self, name)}
        self._count(counts, y_true, y_pred, sample_weight)

    def _count(
        self,
        counts: dict[str, Variable],
        y_true: Any,
        y_pred: Any,
        sample_weight: Any,
        multi_label: bool = False,
        label_weights: torch.Tensor | None = None,
    ) -> None:
        """Adds a batch to some of the four counts.

        Args:
            counts: variables by name, `(thresholds,)`, or `(thresholds, labels)` where `multi_label`.
            multi_label: whether each column counts by itself.
            label_weights: weights of the columns, where they do not.
        """
        dtype = dtypes.to_torch_dtype(next(iter(counts.values())).dtype)
        y_true, y_pred, weight = self._standardized(y_true, y_pred, sample_weight, dtype)
        if label_weights is not None:
            weight = label_weights if weight is None else weight * label_weights
        positive = y_true.bool().to(dtype)
        if weight is not None:
            positive = positive * weight
        negative = (1.0 if weight is None else weight) - positive
        weights = torch.stack((positive, negative)).expand(2, *y_pred.shape)
        if not multi_label:
            y_pred, weights = y_pred.reshape(-1, 1), weights.reshape(2, -1, 1)
        above = self._thresholds.above(y_pred, weights)
        below = weights.sum(1, keepdim=True) - above
        found = {
            "true_positives": above[0],
            "false_positives": above[1],
            "false_negatives": below[0],
            "true_negatives": below[1],
        }
        for name, variable in counts.items():
            accumulate(variable, found[name].view(variable.shape))

    def _standardized(
        self, y_true: Any, y_pred: Any, sample_weight: Any, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        y_pred = detached(y_pred).to(dtype)
        y_pred, y_true = squeeze_or_expand_to_same_rank(y_pred, convert_to_tensor(y_true, dtype=dtype))
        if sample_weight is not None:
            sample_weight = convert_to_tensor(sample_weight, dtype=dtype).unsqueeze(-1)
            _, sample_weight = squeeze_or_expand_to_same_rank(y_true, sample_weight, expand_rank_1=False)
        if self.top_k is not None:
            best = y_pred.topk(self.top_k)
            y_pred = torch.full_like(y_pred, NEGATIVE_INFINITY).scatter(-1, best.indices, best.values)
        if self.class_id is not None:
            if y_pred.ndim == 1:
                raise ValueError(
                    "When class_id is provided, y_pred must be a 2D array with shape (num_samples, num_classes), found "
                    f"shape: {tuple(y_pred.shape)}"
                )
            y_true = y_true[..., self.class_id, None]
            y_pred = y_pred[..., self.class_id, None]
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__} compares targets 0 and 1 with predictions of the same shape. Received: "
                f"y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}. Instead of class numbers, "
                "pass one-hot targets, as `keras.utils.to_categorical` makes them."
            )
        return y_true, y_pred, sample_weight
