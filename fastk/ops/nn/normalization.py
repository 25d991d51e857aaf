"""Statistics along axes, and what is normalised with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import axes_of, canonical_axis, floating, result_dtype
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "batch_normalization",
    "layer_normalization",
    "moments",
    "normalize",
    "psnr",
    "rms_normalization",
]


@operation("x")
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the variance along `axes`; float16 is computed in float32, and clipped to what it can hold.

    Args:
        x: floating point.
        axes: an int or several.
        keepdims: whether the axes stay, with size 1.
        synchronized: not supported; must be False.

    >>> from fastk import ops
    >>> ops.moments([0.0, 2.0], axes=[0])
    (tensor(1.), tensor(1.))
    """
    if synchronized:
        raise NotImplementedError("`synchronized=True` is not supported: the moments are those of this process's data.")
    x = convert_to_tensor(x)
    compute = x.float() if x.dtype is torch.float16 else x
    variance, mean = torch.var_mean(compute, dim=axes, correction=0, keepdim=keepdims)
    if x.dtype is torch.float16:
        bounds = torch.finfo(torch.float16)
        mean, variance = (torch.clamp(y, bounds.min, bounds.max).to(torch.float16) for y in (mean, variance))
    return mean, variance


def _same(x: Any, **options: Any) -> KerasTensor:
    return KerasTensor(x.shape, dtype=x.dtype)


def _batch_norm_spec(x: Any, axis: int, **arguments: Any) -> KerasTensor:
    size = x.shape[canonical_axis(axis, len(x.shape))]
    for name in ("mean", "variance", "offset", "scale"):
        value = arguments.get(name)
        if value is not None and shape_of(value) != (size,):
            raise ValueError(
                f"`{name}` must be a vector of length equal to the size of dimension `axis` of the input, which is "
                f"{size}. Received: {name}.shape={shape_of(value)}, x.shape={x.shape}, axis={axis}"
            )
    return _same(x)


@operation("x mean variance offset scale", spec=_batch_norm_spec, name="BatchNorm")
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> torch.Tensor:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`. Source: Ioffe and Szegedy, 2015.

    Args:
        x: tensor.
        mean, variance: one value for each index of `axis`.
        axis: the axis that is normalised, often that of the channels.
        offset, scale: one value for each index of `axis`, or None.
        epsilon: keeps the divisor from 0.
    """
    x = convert_to_tensor(x)
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, variance = (convert_to_tensor(y).reshape(shape) for y in (mean, variance))
    factor = torch.rsqrt(variance + epsilon)
    if scale is not None:
        factor = factor * convert_to_tensor(scale).reshape(shape)
    result = (x - mean) * factor
    return result if offset is None else result + convert_to_tensor(offset).reshape(shape)


def _trailing(axis: Any, rank: int) -> tuple[list[int], bool]:
    """The axes, sorted, and whether they are the last ones."""
    axes = sorted(axes_of(axis, rank))
    return axes, axes == list(range(rank - len(axes), rank))


def _along(x: Any, like: torch.Tensor, axes: Sequence[int]) -> torch.Tensor | None:
    """A scale or offset over `axes`, shaped to broadcast with `like`."""
    if x is None:
        return None
    x = convert_to_tensor(x, dtype=like.dtype)
    return x if x.ndim == like.ndim else x.reshape([n if i in axes else 1 for i, n in enumerate(like.shape)])


@operation("x gamma beta", spec=_same, name="LayerNorm")
def layer_normalization(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    axis: Any = -1,
    epsilon: float | None = None,
    rms_scaling: bool = False,
) -> torch.Tensor:
    """`x` with mean 0 and variance 1 along `axis`, times `gamma`, plus `beta`. Source: Ba et al., 2016.

    Args:
        x: tensor; half precision is computed in float32.
        gamma, beta: of the sizes of `axis`, or None.
        axis: an int or several.
        epsilon: added to the variance; `keras.config.epsilon()` by default.
        rms_scaling: deprecated: only divide by the standard deviation, and add no `beta`.

    >>> from fastk import ops
    >>> ops.layer_normalization([[0.0, 2.0]], epsilon=0.0)
    tensor([[-1.,  1.]])
    """
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = convert_to_tensor(x)
    y = x.to(result_dtype(x.dtype, "float32"))
    axes, last = _trailing(axis, y.ndim)
    if rms_scaling:
        warnings.warn(
            "You passed `rms_scaling=True`, which is deprecated: it scales by the variance, not by the root mean "
            "square. Use `keras.ops.rms_normalization` instead.",
            stacklevel=3,
        )
        y = y * torch.rsqrt(torch.var(y, dim=axes, correction=0, keepdim=True) + epsilon)
        gamma = _along(gamma, y, axes)
        return (y if gamma is None else y * gamma).to(x.dtype)
    if last:
        shape = y.shape[axes[0] :]
        gamma, beta = (None if v is None else convert_to_tensor(v, dtype=y.dtype).reshape(shape) for v in (gamma, beta))
        return F.layer_norm(y, shape, gamma, beta, epsilon).to(x.dtype)
    variance, mean = torch.var_mean(y, dim=axes, correction=0, keepdim=True)
    y = (y - mean) * torch.rsqrt(variance + epsilon)
    gamma, beta = _along(gamma, y, axes), _along(beta, y, axes)
    y = y if gamma is None else y * gamma
    return (y if beta is None else y + beta).to(x.dtype)


@operation("x scale", spec=_same, name="RMSNorm")
def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> torch.Tensor:
    """`x` divided by the root of its mean square along `axis`, times `scale`. Source: Zhang and Sennrich, 2019.

    Args:
        x: tensor; half precision is computed in float32.
        scale: of the sizes of `axis`, or None.
        axis: an int or several.
        epsilon: added to the mean square; `keras.config.epsilon()` by default.
    """
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = convert_to_tensor(x)
    y = x.to(result_dtype(x.dtype, "float32"))
    y = y.reshape(1) if y.ndim == 0 else y
    axes, last = _trailing(axis, y.ndim)
    if last:
        shape = y.shape[axes[0] :]
        scale = None if scale is None else convert_to_tensor(scale, dtype=y.dtype).reshape(shape)
        return F.rms_norm(y, shape, scale, epsilon).to(x.dtype)
    y = y * torch.rsqrt(torch.mean(y * y, dim=axes, keepdim=True) + epsilon)
    scale = _along(scale, y, axes)
    return (y if scale is None else y * scale).to(x.dtype)


def _normalize_spec(x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> KerasTensor:
    axes_of(axis, max(len(x.shape), 1))
    return KerasTensor(x.shape or (1,), dtype=x.dtype)


@operation("x", spec=_normalize_spec)
def normalize(x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> torch.Tensor:
    """`x / max(norm(x), epsilon)`, the norm being that of `order` along `axis`.

    >>> from fastk import ops
    >>> ops.normalize([[3.0, 4.0]])
    tensor([[0.6000, 0.8000]])
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"Argument `order` must be an int >= 1. Received: order={order}")
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = floating(x)
    x = x.reshape(1) if x.ndim == 0 else x
    if order == 2:
        # Of squares: at 0 the gradient is 0, where that of a square root is not finite.
        squares = torch.sum(x * x, dim=axis, keepdim=True)
        return x * torch.clamp(torch.rsqrt(squares), max=1.0 / epsilon)
    norm = torch.linalg.vector_norm(x, order, dim=axis, keepdim=True)
    return x / torch.clamp(norm, min=epsilon)


def _psnr_spec(x1: Any, x2: Any, max_val: Any) -> KerasTensor:
    # Keras asks for no more of symbolic images; the sizes are compared when there are values.
    if len(shape_of(x1)) != len(shape_of(x2)):
        raise ValueError(f"Inputs must have the same rank. Received shapes: {shape_of(x1)} and {shape_of(x2)}")
    return KerasTensor((), dtype=x1.dtype)


@operation("x1 x2", spec=_psnr_spec, name="PSNR")
def psnr(x1: Any, x2: Any, max_val: Any) -> torch.Tensor:
    """The peak signal-to-noise ratio in decibels: `20 log10(max_val) - 10 log10(mean((x1 - x2)**2))`."""
    x1, x2 = convert_to_tensor(x1), convert_to_tensor(x2)
    if x1.shape != x2.shape:
        raise ValueError(f"Input shapes {tuple(x1.shape)} and {tuple(x2.shape)} must match for PSNR calculation. ")
    peak = convert_to_tensor(max_val, dtype=x1.dtype)
    return 20 * torch.log10(peak) - 10 * torch.log10(torch.mean((x1 - x2) ** 2))
