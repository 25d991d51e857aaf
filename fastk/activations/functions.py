"""The activation functions, each a function of one tensor.

Given a `torch.Tensor` they compute; an array or a list is made a tensor first; a KerasTensor makes a node of the
graph (see `symbolic.py`). Integer tensors are not converted.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from fastk.activations.symbolic import symbolic_call
from fastk.graph.keras_tensor import KerasTensor
from fastk.tensor import convert_to_tensor


def _activation(function: Callable) -> Callable:
    """The one place where what is not a plain tensor is dealt with."""

    @functools.wraps(function)
    def public(x: Any, *args: Any, **kwargs: Any) -> Any:
        if type(x) is torch.Tensor:
            return function(x, *args, **kwargs)
        if isinstance(x, KerasTensor):
            return symbolic_call(function, x, *args, **kwargs)
        return function(convert_to_tensor(x), *args, **kwargs)

    return public


def linear(x: Any) -> Any:
    """`x` itself.

    >>> linear(3.0)
    3.0
    """
    return x


# ---------------------------------------------------------------- rectifiers


@_activation
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> torch.Tensor:
    """`x` above the threshold, `negative_slope * (x - threshold)` below it; nothing above `max_value`.

    Args:
        x: a tensor.
        negative_slope: the slope below the threshold.
        max_value: the greatest result; None for no bound.
        threshold: where the identity begins.

    >>> from fastk import activations
    >>> activations.relu([-2.0, 0.5, 9.0], negative_slope=0.5, max_value=6.0)
    tensor([-1.0000,  0.5000,  6.0000])
    """
    if not negative_slope:
        y = torch.relu(x) if threshold == 0 else F.threshold(x, threshold, 0.0)
    elif threshold == 0:
        y = F.leaky_relu(x, negative_slope)
    else:
        y = torch.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else y.clamp(max=max_value)


@_activation
def leaky_relu(x: Any, negative_slope: float = 0.2) -> torch.Tensor:
    """`x` where positive, `negative_slope * x` elsewhere.

    >>> leaky_relu([-1.0, 2.0])
    tensor([-0.2000,  2.0000])
    """
    return F.leaky_relu(x, negative_slope)


@_activation
def relu6(x: Any) -> torch.Tensor:
    """`min(max(x, 0), 6)`.

    >>> relu6([-1.0, 8.0])
    tensor([0., 6.])
    """
    return F.relu6(x)


@_activation
def elu(x: Any, alpha: float = 1.0) -> torch.Tensor:
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere. Source: Clevert et al., 2016.

    >>> elu([-1.0, 2.0])
    tensor([-0.6321,  2.0000])
    """
    return F.elu(x, alpha)


@_activation
def selu(x: Any) -> torch.Tensor:
    """`1.0507 * elu(x, 1.6733)`, which keeps mean 0 and variance 1. Source: Klambauer et al., 2017.

    >>> selu([-1.0, 1.0])
    tensor([-1.1113,  1.0507])
    """
    return torch.selu(x)


@_activation
def celu(x: Any, alpha: float = 1.0) -> torch.Tensor:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`. Source: Barron, 2017.

    >>> celu([-1.0, 2.0])
    tensor([-0.6321,  2.0000])
    """
    return torch.celu(x, alpha)


@_activation
def softplus(x: Any) -> torch.Tensor:
    """`log(exp(x) + 1)`.

    >>> softplus([-1.0, 0.0])
    tensor([0.3133, 0.6931])
    """
    return F.softplus(x)


@_activation
def squareplus(x: Any, b: float = 4) -> torch.Tensor:
    """`(x + sqrt(x**2 + b)) / 2`, a rectifier without transcendental functions. Source: Barron, 2021.

    >>> squareplus([-1.5, 0.0])
    tensor([0.5000, 1.0000])
    """
    return (x + (x.square() + b).sqrt()) / 2


@_activation
def sparse_plus(x: Any) -> torch.Tensor:
    """0 up to -1, `(x + 1)**2 / 4` up to 1, then `x`.

    >>> sparse_plus([-2.0, 0.0, 3.0])
    tensor([0.0000, 0.2500, 3.0000])
    """
    return (x.clamp(-1.0, 1.0) + 1.0).square() / 4 + torch.relu(x - 1.0)


# ---------------------------------------------------------------- gated


@_activation
def silu(x: Any) -> torch.Tensor:
    """`x * sigmoid(x)`, also called swish. Source: Ramachandran et al., 2017.

    >>> silu([-1.0, 1.0])
    tensor([-0.2689,  0.7311])
    """
    return F.silu(x)


@_activation
def gelu(x: Any, approximate: bool = False) -> torch.Tensor:
    """`x * P(X <= x)` for X ~ N(0, 1). Source: Hendrycks and Gimpel, 2016.

    Args:
        x: a tensor.
        approximate: whether to use the paper's approximation by tanh.

    >>> from fastk import activations
    >>> activations.gelu([-1.0, 1.0])
    tensor([-0.1587,  0.8413])
    """
    return F.gelu(x, approximate="tanh" if approximate else "none")


@_activation
def glu(x: Any, axis: int = -1) -> torch.Tensor:
    """`a * sigmoid(b)`, a and b being the halves of `x` along `axis`. Source: Dauphin et al., 2017.

    >>> glu([1.0, 2.0, 0.0, 0.0])
    tensor([0.5000, 1.0000])
    """
    return F.glu(x, axis)


@_activation
def mish(x: Any) -> torch.Tensor:
    """`x * tanh(softplus(x))`. Source: Misra, 2019.

    >>> mish([-1.0, 1.0])
    tensor([-0.3034,  0.8651])
    """
    return F.mish(x)


@_activation
def hard_silu(x: Any) -> torch.Tensor:
    """`x * relu6(x + 3) / 6`, also called hard swish. Source: Howard et al., 2019.

    >>> hard_silu([-3.0, 1.0])
    tensor([-0.0000, 0.6667])
    """
    return F.hardswish(x)


# ---------------------------------------------------------------- bounded


@_activation
def sigmoid(x: Any) -> torch.Tensor:
    """`1 / (1 + exp(-x))`.

    >>> sigmoid([0.0, 1.0])
    tensor([0.5000, 0.7311])
    """
    return torch.sigmoid(x)


@_activation
def hard_sigmoid(x: Any) -> torch.Tensor:
    """`relu6(x + 3) / 6`.

    >>> hard_sigmoid([-4.0, 0.0, 3.0])
    tensor([0.0000, 0.5000, 1.0000])
    """
    return F.hardsigmoid(x)


@_activation
def sparse_sigmoid(x: Any) -> torch.Tensor:
    """0 up to -1, `(x + 1) / 2` up to 1, then 1.

    >>> sparse_sigmoid([-2.0, 0.0, 1.0])
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (x.clamp(-1.0, 1.0) + 1.0) / 2


@_activation
def log_sigmoid(x: Any) -> torch.Tensor:
    """`log(sigmoid(x))`.

    >>> log_sigmoid([0.0, 1.0])
    tensor([-0.6931, -0.3133])
    """
    return F.logsigmoid(x)


@_activation
def tanh(x: Any) -> torch.Tensor:
    """The hyperbolic tangent.

    >>> tanh([0.0, 1.0])
    tensor([0.0000, 0.7616])
    """
    return torch.tanh(x)


@_activation
def hard_tanh(x: Any) -> torch.Tensor:
    """`x` clipped to [-1, 1].

    >>> hard_tanh([-2.0, 0.5])
    tensor([-1.0000,  0.5000])
    """
    return F.hardtanh(x)


@_activation
def softsign(x: Any) -> torch.Tensor:
    """`x / (1 + |x|)`.

    >>> softsign([-1.0, 3.0])
    tensor([-0.5000,  0.7500])
    """
    return F.softsign(x)


# ---------------------------------------------------------------- shrinking


@_activation
def tanh_shrink(x: Any) -> torch.Tensor:
    """`x - tanh(x)`.

    >>> tanh_shrink([0.0, 1.0])
    tensor([0.0000, 0.2384])
    """
    return F.tanhshrink(x)


@_activation
def soft_shrink(x: Any, threshold: float = 0.5) -> torch.Tensor:
    """`x` moved towards 0 by `threshold`, and 0 within it.

    >>> soft_shrink([-2.0, 0.25])
    tensor([-1.5000,  0.0000])
    """
    return F.softshrink(x, threshold)


@_activation
def hard_shrink(x: Any, threshold: float = 0.5) -> torch.Tensor:
    """`x`, and 0 where `|x| <= threshold`.

    >>> hard_shrink([-2.0, 0.25])
    tensor([-2.,  0.])
    """
    return F.hardshrink(x, threshold)


@_activation
def threshold(x: Any, threshold: float, default_value: float) -> torch.Tensor:
    """`x` where above `threshold`, `default_value` elsewhere.

    >>> threshold([1.0, 3.0], 2.0, 0.0)
    tensor([0., 3.])
    """
    return F.threshold(x, threshold, default_value)


@_activation
def exponential(x: Any) -> torch.Tensor:
    """`exp(x)`.

    >>> exponential([0.0, 1.0])
    tensor([1.0000, 2.7183])
    """
    return torch.exp(x)


# ---------------------------------------------------------------- distributions over an axis

Axis = int | Sequence[int] | None


@_activation
def softmax(x: Any, axis: Axis = -1) -> torch.Tensor:
    """`exp(x)`, scaled to a sum of 1.

    Args:
        x: a tensor.
        axis: the axis, or the axes together, over which the sum is 1; None for all.

    >>> from fastk import activations
    >>> activations.softmax([[0.0, 0.0], [0.0, 0.0]], axis=(0, 1)).tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """
    if isinstance(axis, int) and x.ndim and x.shape[axis] == 1:
        warnings.warn(
            f"You are using a softmax over axis {axis} of a tensor of shape {tuple(x.shape)}. This axis has size 1. "
            "The softmax operation will always return the value 1, which is likely not what you intended. "
            "Did you mean to use a sigmoid instead?",
            stacklevel=3,
        )
    y = _over_axes(torch.softmax, x, axis)
    if isinstance(axis, int) and isinstance(x, torch.Tensor) and axis in (-1, x.ndim - 1):
        y._keras_logits = x  # type: ignore[attr-defined] - what a cross-entropy of `y` is computed from
    return y


@_activation
def log_softmax(x: Any, axis: Axis = -1) -> torch.Tensor:
    """The logarithm of `softmax`, computed without its loss of digits.

    Args:
        x: a tensor.
        axis: the axis, or the axes together; None for all.

    >>> log_softmax([0.0, 0.0])
    tensor([-0.6931, -0.6931])
    """
    return _over_axes(torch.log_softmax, x, axis)


@_activation
def sparsemax(x: Any, axis: int = -1) -> torch.Tensor:
    """The point of the probability simplex that is nearest to `x`. Source: Martins and Astudillo, 2016.

    Args:
        x: a tensor.
        axis: the axis of the distribution.

    >>> from fastk import activations
    >>> activations.sparsemax([1.0, 0.5, -1.0]).tolist()
    [0.75, 0.25, 0.0]
    """
    z = x.movedim(axis, -1)
    descending = z.sort(-1, descending=True).values
    # tau is the greatest of (sum of the k largest - 1) / k over k.
    k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    tau = ((descending.cumsum(-1) - 1.0) / k).amax(-1, keepdim=True)
    return torch.relu(z - tau).movedim(-1, axis)


def _over_axes(function: Callable, x: torch.Tensor, axis: Axis) -> torch.Tensor:
    """`function(x, axis)`, several axes taken together as one."""
    if isinstance(axis, int):
        return function(x, axis)
    axes = tuple(range(x.ndim)) if axis is None else tuple(axis)
    if not axes:
        return function(x.unsqueeze(-1), -1).squeeze(-1)
    last = tuple(range(-len(axes), 0))
    moved = x.movedim(axes, last)
    return function(moved.flatten(-len(axes)), -1).reshape(moved.shape).movedim(last, axes)
