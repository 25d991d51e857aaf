"""The circle loss of embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fastk.losses.arrays import floating
from fastk.losses.loss import FunctionLoss, keeps_target_dtype
from fastk.tensor import convert_to_tensor, set_keras_mask, to_boundary


@keeps_target_dtype
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> torch.Tensor:
    """The circle loss of each embedding against references (Sun et al. 2020): near its class, far from the others.

    An entry without loss is masked: it does not count in a mean.

    Args:
        y_true: class numbers, `(batch,)` or `(batch, 1)`.
        y_pred: embeddings of length 1, `(batch, features)`.
        ref_labels, ref_embeddings: labels and embeddings to compare with; by default those of the batch.
        remove_diagonal: whether an embedding is not compared with itself.
        gamma: the scale of the similarities.
        margin: how far the classes are kept apart.

    >>> import fastk
    >>> print(fastk.losses.circle([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).numpy().round(3))
    [0. 0. 0.]
    """
    y_pred = floating(y_pred)
    labels = _column(y_true)
    others = labels if ref_labels is None else _column(ref_labels)
    references = y_pred if ref_embeddings is None else convert_to_tensor(ref_embeddings, dtype=y_pred.dtype)
    distance = (1.0 - y_pred @ references.T).clamp_min(0.0)
    same = labels == others.T
    different = ~same
    if remove_diagonal:
        same = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device)
    # Each pair weighs as much as it lacks: (margin + d) pulls, (1 + margin - d) pushes.
    pull = -gamma * (margin + distance).clamp_min(0.0) * (margin - distance)
    push = gamma * (1.0 + margin - distance).clamp_min(0.0) * (1.0 - margin - distance)
    loss = functional.softplus(_logsumexp(pull, same) + _logsumexp(push, different))
    set_keras_mask(loss, loss.detach() > 0)
    return to_boundary(loss)


def _column(labels: Any) -> torch.Tensor:
    return convert_to_tensor(labels, dtype=torch.int64).reshape(-1, 1)


def _logsumexp(x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(~where, float("-inf")).logsumexp(1)


class Circle(FunctionLoss):
    """The circle loss of embeddings of length 1, targets being class numbers (Sun et al. 2020).

    Args:
        gamma: the scale of the similarities.
        margin: how far the classes are kept apart.
        remove_diagonal: whether an embedding is not compared with itself.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.Circle()([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).numpy().round(3))
    0.0
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "circle",
        dtype: Any = None,
    ):
        super().__init__(circle, reduction, name, dtype, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)
