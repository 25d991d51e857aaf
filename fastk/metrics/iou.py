"""Intersection over union: `tp / (tp + fp + fn)` of classes, from a confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from fastk import config
from fastk.metrics.metric import Metric, accumulate
from fastk.metrics.reduction import detached
from fastk.tensor import convert_to_tensor


def confusion_matrix(
    labels: torch.Tensor, predictions: torch.Tensor, num_classes: int, weights: torch.Tensor
) -> torch.Tensor:
    """`(num_classes, num_classes)`: the weight of each pair of a label (row) and a prediction (column).

    Args:
        labels, predictions: class numbers within range, `(n,)`, int64.
        weights: `(n,)`, in the dtype of the result.
    """
    matrix = weights.new_zeros(num_classes * num_classes)
    return matrix.index_add_(0, labels * num_classes + predictions, weights).view(num_classes, num_classes)


class IoU(Metric):
    """The mean intersection over union of some classes.

    Args:
        num_classes: how many classes there are.
        target_class_ids: the classes that count.
        name: as in `Metric`.
        dtype: of the confusion matrix; int32 by default.
        ignore_class: a target class whose entries do not count.
        sparse_y_true, sparse_y_pred: whether targets and predictions are class numbers; else they are one-hot or
            scores along `axis`.
        axis: the classes' axis.

    >>> import fastk
    >>> print(fastk.metrics.IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]).numpy().round(4))
    0.3333
    """

    _direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"Target class id {max(target_class_ids)} is out of range, which is [0, {num_classes}).")
        super().__init__(name=name, dtype=dtype or "int32")
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self.add_variable(
            name="total_confusion_matrix", shape=(num_classes, num_classes), dtype=self.dtype
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; entries that are no class, on either side, do not count.

        Args:
            y_true: targets.
            y_pred: predictions.
            sample_weight: a weight for each entry.
        """
        y_true, y_pred = detached(y_true), detached(y_pred)
        y_true = y_true if self.sparse_y_true else y_true.argmax(self.axis)
        y_pred = y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)
        y_true, y_pred = y_true.reshape(-1).to(torch.int64), y_pred.reshape(-1).to(torch.int64)
        counts = (y_true >= 0) & (y_true < self.num_classes) & (y_pred >= 0) & (y_pred < self.num_classes)
        if self.ignore_class is not None:
            counts = counts & (y_true != self.ignore_class)
        weights = self._weights(sample_weight, y_true)
        # Left-out entries add nothing to the first cell.
        y_true, y_pred = y_true * counts, y_pred * counts
        accumulate(self.total_cm, confusion_matrix(y_true, y_pred, self.num_classes, weights * counts))

    def _weights(self, sample_weight: Any, y_true: torch.Tensor) -> torch.Tensor:
        if sample_weight is None:
            return torch.ones_like(y_true, dtype=self._torch_dtype)
        if "float" in str(getattr(sample_weight, "dtype", "")) and not self._torch_dtype.is_floating_point:
            warnings.warn(
                "You are passing weight as `float`, but dtype is `int`. This may result in an incorrect weight due to "
                "type casting. Consider using integer weights, or `dtype='float32'`.",
                stacklevel=4,
            )
        weights = convert_to_tensor(sample_weight, dtype=self._torch_dtype)
        return weights.reshape(-1).broadcast_to(y_true.shape)

    def result(self) -> Any:
        """The mean over the classes that have been seen."""
        matrix = self.total_cm.value.to(torch.promote_types(self._torch_dtype, torch.float32))
        intersection = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - intersection
        intersection, union = intersection[self.target_class_ids], union[self.target_class_ids]
        seen = union > 1e-9
        iou = (intersection / (union + config.epsilon())) * seen
        return (iou.sum() / (seen.sum() + config.epsilon())).to(torch.float32)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "num_classes": self.num_classes,
            "target_class_ids": self.target_class_ids,
            "ignore_class": self.ignore_class,
            "sparse_y_true": self.sparse_y_true,
            "sparse_y_pred": self.sparse_y_pred,
            "axis": self.axis,
        }

    def _config_without(self, *names: str) -> dict[str, Any]:
        return {key: value for key, value in IoU.get_config(self).items() if key not in names}


class BinaryIoU(IoU):
    """The mean intersection over union of two classes, predictions being split by a threshold.

    Args:
        target_class_ids: the classes that count, among 0 and 1.
        threshold: a prediction means 1 from here on.
        name, dtype: as in `IoU`.

    >>> import fastk
    >>> print(fastk.metrics.BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]).numpy().round(4))
    0.3333
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes=2, target_class_ids=target_class_ids, name=name, dtype=dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch: targets 0 and 1, predictions, a weight for each entry."""
        y_pred = convert_to_tensor(y_pred, dtype=torch.float32)
        super().update_state(y_true, y_pred >= self.threshold, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Metric.get_config(self) | {"target_class_ids": self.target_class_ids, "threshold": self.threshold}


class MeanIoU(IoU):
    """The mean intersection over union of all classes.

    Args:
        num_classes: how many classes there are.
        name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis: as in `IoU`.

    >>> import fastk
    >>> print(fastk.metrics.MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]).numpy().round(4))
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self._config_without("target_class_ids")


class OneHotIoU(IoU):
    """The mean intersection over union of some classes, targets being one-hot.

    Args:
        num_classes: how many classes there are.
        target_class_ids: the classes that count.
        name, dtype, ignore_class, sparse_y_pred, axis: as in `IoU`.

    >>> import fastk
    >>> metric = fastk.metrics.OneHotIoU(num_classes=3, target_class_ids=[0, 2])
    >>> print(metric([[0, 0, 1], [1, 0, 0]], [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7]]).numpy().round(4))
    0.25
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self._config_without("sparse_y_true")


class OneHotMeanIoU(MeanIoU):
    """The mean intersection over union of all classes, targets being one-hot.

    Args:
        num_classes: how many classes there are.
        name, dtype, ignore_class, sparse_y_pred, axis: as in `IoU`.

    >>> import fastk
    >>> metric = fastk.metrics.OneHotMeanIoU(num_classes=2)
    >>> print(metric([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]).numpy().round(4))
    0.25
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self._config_without("target_class_ids", "sparse_y_true")
