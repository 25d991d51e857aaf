"""Softmax cross-entropy by torch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

# torch gives rows labelled `ignore_index`, -100 by default, the loss 0: no label is left out unasked.
NO_CLASS = -(2**63)


def softmax_cross_entropy(
    logits: Tensor, labels: Tensor, sparse: bool, label_smoothing: float, ignore_class: int | None
) -> Tensor:
    """The loss of each row; see the contract in `kernels.softmax_cross_entropy`."""
    rows = logits if logits.dim() == 2 else logits.reshape(-1, logits.size(-1))
    if not sparse:
        targets = labels.reshape(rows.shape).to(rows.dtype)
        return F.cross_entropy(rows, targets, reduction="none", label_smoothing=label_smoothing).view(labels.shape[:-1])
    targets = labels.reshape(-1).long()
    if ignore_class is None:
        loss = F.cross_entropy(rows, targets, reduction="none", label_smoothing=label_smoothing, ignore_index=NO_CLASS)
    else:
        ignored = targets == ignore_class
        rows = rows.masked_fill(ignored.unsqueeze(1), 0.0)
        targets = targets.masked_fill(ignored, 0)
        loss = F.cross_entropy(rows, targets, reduction="none", label_smoothing=label_smoothing)
        loss = torch.where(ignored, 0.0, loss)
    return loss.view(labels.shape)


def softmax_cross_entropy_with_gradient(
    logits: Tensor, labels: Tensor, weights: Tensor, sparse: bool, label_smoothing: float, ignore_class: int | None
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and the gradient of the sum of these by `weights`."""
    with torch.enable_grad():
        x = logits.detach().requires_grad_()
        loss = softmax_cross_entropy(x, labels.detach(), sparse, label_smoothing, ignore_class)
        (gradient,) = torch.autograd.grad(loss, x, weights.detach().to(loss.dtype))
    return loss.detach(), gradient
