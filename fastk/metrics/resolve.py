"""Which accuracy, and which cross-entropy, `"accuracy"` and `"crossentropy"` mean: the shapes tell."""

from __future__ import annotations

from collections.abc import Sequence


def kind_of_labels(y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> str:
    """What functions for such targets are called: `kind + "_accuracy"`, `kind + "_crossentropy"`.

    Args:
        y_true_shape, y_pred_shape: shapes with their batch axis; sizes may be None.

    Returns:
        `"binary"` (one output), `"sparse_categorical"` (class numbers), or `"categorical"` (one-hot targets).

    >>> kind_of_labels((32,), (32, 10)), kind_of_labels((32, 10), (32, 10)), kind_of_labels((32, 1), (32, 1))
    ('sparse_categorical', 'categorical', 'binary')
    """
    outputs = y_pred_shape[-1]
    if outputs == 1:
        return "binary"
    one_label = y_true_shape[-1:] == (1,) and outputs is not None
    return "sparse_categorical" if len(y_true_shape) < len(y_pred_shape) or one_label else "categorical"
