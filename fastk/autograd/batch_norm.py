"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.autograd.checks import check_activation, check_vector
from fastk.autograd.layer_norm import gradients_of, wide_type
from fastk.autograd.library import Call, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.batch_norm import aten


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
    activation: str | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """activation(gamma (x - mean) / sqrt(variance + epsilon) + beta), for each channel (Ioffe & Szegedy 2015).

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
        activation: a name of `kernels.activation`, applied to the result; or None.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        (y, mean, variance): y like x, and the statistics used, [C], without gradient in training; the variance is the
        biased one. They are float32 where x is of a half type.

    Raises:
        ValueError: shapes that do not fit, an unknown activation, or no statistics and not training.

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
    check_activation(activation, "batch_norm")
    arguments = (x, gamma, beta, mean, variance, axis, epsilon, training, mask, activation)
    choice = choose("batch_norm", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    y, batch_mean, batch_variance = _batch_norm(*arguments, choice.implementation)
    if training:
        return y, batch_mean, batch_variance
    wide = wide_type(x)
    return y, mean.to(wide), variance.to(wide)  # type: ignore[union-attr]


def _forward_shapes(x, gamma, beta, mean, variance, axis, epsilon, training, mask, activation):
    statistics = [x.new_empty(x.size(axis) if training else 0, dtype=wide_type(x)) for _ in range(2)]
    return x.new_empty(x.shape), *statistics, x.new_empty(1 if training else 0, dtype=wide_type(x))


def _backward_shapes(g, x, gamma, beta, mean, variance, count, epsilon, training, mask, activation, needed):
    sums = x.new_empty((2, x.size(-1)) if needed[1] else 0, dtype=wide_type(x))
    return x.new_empty(x.shape if needed[0] else 0), sums


def _gradients(call: Call, g: Tensor) -> Sequence[Tensor | None]:
    x, gamma, beta, mean, variance, _, epsilon, training, mask, activation, implementation = call.arguments
    _, batch_mean, batch_variance, count = call.outputs
    if training:
        mean, variance = batch_mean, batch_variance
    needed = [call.needed[0], any(call.needed[1:3])]
    dx, sums = _backward(
        g, x, gamma, beta, mean, variance, count, epsilon, training, mask, activation, needed, implementation
    )
    return gradients_of(call, dx, sums)


_forward = define(
    "batch_norm_forward(Tensor x, Tensor? gamma, Tensor? beta, Tensor? mean, Tensor? variance, int axis, float epsilon,"
    " bool training, Tensor? mask, str? activation) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "batch_norm_backward(Tensor g, Tensor x, Tensor? gamma, Tensor? beta, Tensor mean, Tensor variance, Tensor count,"
    " float epsilon, bool training, Tensor? mask, str? activation, bool[] needed) -> (Tensor, Tensor)",
    _backward_shapes,
)
_batch_norm = differentiate(_forward, _gradients, aten.batch_norm, constants=2)


contested("batch_norm", "batch_norm", batch_norm)
