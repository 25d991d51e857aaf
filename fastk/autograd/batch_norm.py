"""Batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.autograd.checks import check_vector
from fastk.dispatch import choose


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    axis: int = -1,
    epsilon: float = 1e-3,
    training: bool = False,
    mask: Tensor | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, for each channel (Ioffe & Szegedy 2015).

    Args:
        x: of rank 2 or more, with C channels on `axis`.
        gamma: [C], or None for 1.
        beta: [C], or None for 0.
        mean: [C]. Not used in training, when it may be None.
        variance: [C], likewise.
        axis: that of the channels.
        epsilon: added to the variance.
        training: whether to normalise with the statistics of this batch.
        mask: bool, the shape of x without its last axis: the positions that count for the statistics of this batch.
            The channels must be last.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        (y, mean, variance): y like x, and the statistics used, [C], without gradient in training; the variance is the
        biased one. They are float32 where x is of a half type.

    Raises:
        ValueError: shapes that do not fit, or no statistics and not training.

    >>> import torch
    >>> y, mean, variance = batch_norm(torch.tensor([[1.0], [3.0]]), None, None, None, None, training=True)
    >>> mean, variance
    (tensor([2.]), tensor([1.0000]))
    """
    rank = x.dim()
    if rank < 2 or not -rank <= axis < rank:
        raise ValueError(f"batch_norm expects x of rank 2 or more, and an axis of it. Received {axis=}, {x.shape=}.")
    axis %= rank
    channels = x.size(axis)
    for name, vector in (("gamma", gamma), ("beta", beta), ("mean", mean), ("variance", variance)):
        check_vector(vector, channels, "batch_norm", name)
    if not training and (mean is None or variance is None):
        raise ValueError("batch_norm needs `mean` and `variance` unless training=True.")
    if training and x.numel() == 0:
        raise ValueError(f"batch_norm in training needs at least one position. Received x of shape {tuple(x.shape)}.")
    if mask is not None and (axis != rank - 1 or mask.shape != x.shape[:-1] or mask.dtype != torch.bool):
        raise ValueError(
            "batch_norm expects `mask` of dtype torch.bool and x's shape without the channels, which are last. "
            f"Received a mask of shape {tuple(mask.shape)} and dtype {mask.dtype}, {axis=}, x of "
            f"shape {tuple(x.shape)}."
        )
    arguments = (x, gamma, beta, mean, variance, axis, epsilon, training, mask)
    return choose("batch_norm", implementation, x, arguments).function(*arguments)
