"""Batch normalisation by torch's fused kernel on a [N, C] view; with a mask from elementwise ops.

Forward + backward on one thread, 64x32x32x16: 1.8 ms on the view, 1.8 on channels-last NCHW, composed from ops 15 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastk import config
from fastk.kernels.activation.aten import epilogue

Result = tuple[Tensor, Tensor, Tensor]


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    axis: int,
    epsilon: float,
    training: bool,
    mask: Tensor | None,
    activation: str | None,
) -> Result:
    """(y, mean, variance); see the contract in `kernels.batch_norm`."""
    last = axis == x.dim() - 1
    moved = x if last else x.movedim(axis, -1)
    wide = x.dtype if x.dtype.itemsize > 2 else torch.float32
    if training:
        mean = variance = None  # torch would write to them
    gamma, beta, mean, variance = (
        v if v is None or v.dtype == wide else v.to(wide) for v in (gamma, beta, mean, variance)
    )
    if training and mask is not None:
        y, mean, variance = _masked(moved, gamma, beta, epsilon, mask, wide)
        y = epilogue(y, activation)
        return (y if last else y.movedim(-1, axis)), mean, variance
    rows = moved.reshape(-1, moved.size(-1))
    y, batch_mean, deviation = torch.native_batch_norm(rows, gamma, beta, mean, variance, training, 0.0, epsilon)
    y = epilogue(y, activation).view(moved.shape)
    if training:
        mean, variance = batch_mean, deviation.pow(-2).sub_(epsilon).clamp_min_(0.0)
    return (y if last else y.movedim(-1, axis)), mean, variance  # type: ignore[return-value]


def _masked(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, epsilon: float, mask: Tensor, wide: torch.dtype
) -> Result:
    """Training with the statistics of the positions where mask [...] is True; channels are last."""
    counted = mask.unsqueeze(-1)
    axes = tuple(range(x.dim() - 1))
    values = x.to(wide)
    number = mask.sum(dtype=wide) + config.epsilon()
    mean = torch.where(counted, values, 0.0).sum(axes) / number
    variance = torch.where(counted, values - mean, 0.0).square().sum(axes) / number
    y = (values - mean) * torch.rsqrt(variance + epsilon)
    y = y if gamma is None else y * gamma
    y = y if beta is None else y + beta
    return y.to(x.dtype), mean.detach(), variance.detach()
