"""Layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.autograd.library import Call, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.layer_norm import aten


def layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
    implementation: str = "auto",
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, over `axis` (Ba, Kiros & Hinton 2016).

    Args:
        x: any shape of rank 1 or more.
        gamma: the sizes of x on the axes, in ascending order of the axes, or None for 1.
        beta: likewise, or None for 0.
        axis: one axis or several, over which mean and biased variance are taken.
        epsilon: added to the variance.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: an axis that x has not, or gamma or beta of another shape.

    >>> import torch
    >>> layer_norm(torch.tensor([[1.0, 3.0]]), epsilon=0.0)
    tensor([[-1.,  1.]])
    """
    rank = x.dim()
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(sorted({one % rank for one in given if -rank <= one < rank}))
    if not given or len(axes) != len(given):
        raise ValueError(f"layer_norm expects different axes of x. Received {axis=} for x of shape {tuple(x.shape)}.")
    sizes = tuple(x.size(one) for one in axes)
    for name, weights in (("gamma", gamma), ("beta", beta)):
        if weights is not None and tuple(weights.shape) != sizes:
            raise ValueError(
                f"layer_norm over {axis=} of x of shape {tuple(x.shape)} expects `{name}` of shape {sizes}. "
                f"Received shape {tuple(weights.shape)}."
            )
    arguments = (x, gamma, beta, axes, epsilon)
    choice = choose("layer_norm", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    if x.is_cuda and torch.is_autocast_enabled("cuda"):  # as torch does
        x = x.float()
    return _layer_norm(x, gamma, beta, list(axes), epsilon, choice.implementation)


def _forward_shapes(x, gamma, beta, axes, epsilon):
    rows = math.prod(x.shape[: x.dim() - len(axes)])
    wide = wide_type(x)
    return x.new_empty(x.shape), x.new_empty(rows, dtype=wide), x.new_empty(rows, dtype=wide)


def _backward_shapes(g, x, gamma, mean, r, axes, needed):
    sums = mean.new_empty([2, *[x.size(axis) for axis in axes]] if needed[1] else [0])
    return x.new_empty(x.shape if needed[0] else 0), sums


def _gradients(call: Call, g: Tensor) -> Sequence[Tensor | None]:
    x, gamma, _, axes, _, implementation = call.arguments
    _, mean, r = call.outputs
    needed = [call.needed[0], any(call.needed[1:3])]
    dx, sums = _backward(g, x, gamma, mean, r, axes, needed, implementation)
    return gradients_of(call, dx, sums)


def wide_type(x: Tensor) -> torch.dtype:
    """The type of statistics and sums: float32, or float64 of float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def gradients_of(call: Call, dx: Tensor, sums: Tensor) -> Sequence[Tensor | None]:
    """Those that are asked for, of x, gamma and beta; sums: those of gamma and beta, in a wide type."""
    _, gamma, beta, *_ = call.arguments
    return (
        dx if call.needed[0] else None,
        sums[0].to(gamma.dtype) if call.needed[1] else None,
        sums[1].to(beta.dtype) if call.needed[2] else None,
    )


_forward = define(
    "layer_norm_forward(Tensor x, Tensor? gamma, Tensor? beta, int[] axes, float epsilon) -> (Tensor, Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "layer_norm_backward(Tensor g, Tensor x, Tensor? gamma, Tensor mean, Tensor r, int[] axes, bool[] needed)"
    " -> (Tensor, Tensor)",
    _backward_shapes,
)
_layer_norm = differentiate(_forward, _gradients, aten.layer_norm)


contested("layer_norm", "layer_norm", layer_norm)
