"""Connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fastk.losses.arrays import floating
from fastk.losses.loss import FunctionLoss, keeps_target_dtype
from fastk.tensor import convert_to_tensor, to_boundary

BLANK = 0


@keeps_target_dtype
def ctc(y_true: Any, y_pred: Any) -> torch.Tensor:
    """Minus the log-likelihood of label sequences under all alignments (Graves et al. 2006), for each sample.

    torch reads the lengths of the sequences on the host: on a GPU, each call waits for the device.

    Args:
        y_true: class numbers from 1, `(batch, length)`, padded with 0.
        y_pred: logits, `(batch, time, classes)`; class 0 is the blank.

    >>> import fastk, numpy as np
    >>> print(fastk.losses.ctc([[1]], np.zeros((1, 1, 2), "float32")))
    [0.6931472]
    """
    y_pred = floating(y_pred)
    labels = convert_to_tensor(y_true, dtype=torch.int64)
    if labels.ndim != 2:
        raise ValueError(
            "Targets `y_true` are expected to be a tensor of shape `(batch_size, max_length)` in integer format. "
            f"Received: y_true.shape={tuple(labels.shape)}"
        )
    if y_pred.ndim != 3:
        raise ValueError(
            "Logits `y_pred` are expected to be a tensor of shape `(batch_size, max_length, num_classes)`. "
            f"Received: y_pred.shape={tuple(y_pred.shape)}"
        )
    batch, time, _ = y_pred.shape
    times = torch.full((batch,), time, dtype=torch.int64, device=labels.device)
    # Half precision cannot hold the products of probabilities along a sequence.
    logits = y_pred.to(torch.promote_types(y_pred.dtype, torch.float32)).transpose(0, 1)
    return to_boundary(
        functional.ctc_loss(
            logits.log_softmax(-1), labels, times, (labels != BLANK).sum(-1), blank=BLANK, reduction="none"
        )
    )


class CTC(FunctionLoss):
    """Connectionist temporal classification (Graves et al. 2006); see `ctc`.

    Args:
        reduction, name, dtype: as in `Loss`.

    >>> import fastk, numpy as np
    >>> print(f"{fastk.losses.CTC()([[1]], np.zeros((1, 1, 2))).numpy():.4f}")
    0.6931
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "ctc", dtype: Any = None):
        super().__init__(ctc, reduction, name, dtype)
