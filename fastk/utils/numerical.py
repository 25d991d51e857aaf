"""Labels as one-hot rows, and vectors scaled to norm 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import config, dtypes


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Class indices as one-hot rows, along a new last axis.

    Args:
        x: integers from 0 to `num_classes - 1`, of any shape; a last axis of size 1 is dropped.
        num_classes: by default one more than the greatest index.

    Returns:
        For a tensor a tensor of `floatx()`, in which an index out of range is a row of zeros; else a float64 array.

    Raises:
        ValueError: an index out of range.

    >>> from fastk import utils
    >>> utils.to_categorical([0, 2], num_classes=3)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    if isinstance(x, torch.Tensor):
        return _tensor_to_categorical(x, num_classes)
    x = np.array(x, dtype="int64")
    shape = x.shape[:-1] if x.ndim > 1 and x.shape[-1] == 1 else x.shape
    labels = x.reshape(-1)
    if not num_classes:
        num_classes = int(labels.max()) + 1
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(
            f"`to_categorical` with num_classes={num_classes} takes class indices from 0 to {num_classes - 1}. "
            f"Received the index {wrong[0]}. Map the labels to 0, 1, 2, ..., or pass a greater `num_classes`."
        )
    one_hot = np.zeros((labels.size, num_classes))
    one_hot[np.arange(labels.size), labels] = 1.0
    return one_hot.reshape(*shape, num_classes)


def _tensor_to_categorical(x: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    if x.ndim > 1 and x.shape[-1] == 1:
        x = x.squeeze(-1)
    if not num_classes:
        num_classes = int(x.max()) + 1
    classes = torch.arange(num_classes, device=x.device)
    return (x.unsqueeze(-1) == classes).to(dtypes.to_torch_dtype(None))


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """`x` over its norm along `axis`; zero vectors stay zero.

    Args:
        x: an array or a tensor; the result is of the same kind.
        axis: the axis of the vectors; None for the whole as one vector.
        order: the order of the norm.

    >>> import numpy as np
    >>> from fastk import utils
    >>> utils.normalize(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    if isinstance(x, torch.Tensor):
        x = x if x.is_floating_point() else x.to(dtypes.to_torch_dtype(None))
        norm = torch.linalg.vector_norm(x, order, dim=axis, keepdim=True)
        return x / norm.clamp_min(config.epsilon())
    x = np.asarray(x)
    keep = {} if axis is None else {"axis": axis, "keepdims": True}
    norm = np.linalg.norm(x.reshape(-1) if axis is None else x, order, **keep)
    return x / np.where(norm == 0, 1, norm)
