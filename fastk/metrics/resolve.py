"""Which accuracy, and which cross-entropy, `"accuracy"` and `"crossentropy"` mean: the shapes tell.

>>> from fastk.metrics.resolve import classification_kind
>>> classification_kind((32,), (32, 10)), classification_kind((32, 10), (32, 10)), classification_kind((32, 1), (32, 1))
('sparse_categorical', 'categorical', 'binary')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastk import losses
from fastk.metrics.accuracy import BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy
from fastk.metrics.metric import Metric

ACCURACY_NAMES = frozenset({"accuracy", "acc"})
CROSSENTROPY_NAMES = frozenset({"crossentropy", "ce"})

_ACCURACIES: dict[str, type[Metric]] = {
    "binary": BinaryAccuracy,
    "sparse_categorical": SparseCategoricalAccuracy,
    "categorical": CategoricalAccuracy,
}
_CROSSENTROPIES: dict[str, Callable[..., Any]] = {
    "binary": losses.binary_crossentropy,
    "sparse_categorical": losses.sparse_categorical_crossentropy,
    "categorical": losses.categorical_crossentropy,
}


def classification_kind(y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> str:
    """`"binary"` (one output), `"sparse_categorical"` (targets without a class axis), else `"categorical"`.

    Args:
        y_true_shape, y_pred_shape: shapes with their batch axis; sizes may be None.
    """
    outputs = y_pred_shape[-1]
    if outputs == 1:
        return "binary"
    one_label = y_true_shape[-1] == 1 and outputs is not None and outputs > 1
    return "sparse_categorical" if len(y_true_shape) < len(y_pred_shape) or one_label else "categorical"


def accuracy_for(
    y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None], name: str = "accuracy"
) -> Metric:
    """The accuracy for targets and predictions of these shapes, called `name`."""
    return _ACCURACIES[classification_kind(y_true_shape, y_pred_shape)](name=name)


def crossentropy_for(
    y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]
) -> Callable[..., Any]:
    """The cross-entropy function for targets and predictions of these shapes."""
    return _CROSSENTROPIES[classification_kind(y_true_shape, y_pred_shape)]
