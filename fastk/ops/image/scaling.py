"""`scale_and_translate`: images resampled along chosen axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = ["scale_and_translate"]


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Source: Keys, 1981, "Cubic convolution interpolation for digital image processing"."""
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x >= 2.0, 0.0, torch.where(x >= 1.0, far, near))


def _lanczos(lobes: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.where(x > lobes, 0.0, torch.sinc(x) * torch.sinc(x / lobes))


_KERNELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), _triangle),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), _cubic),
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
}


def _weights(size: int, target: int, scale: Any, shift: Any, kernel: Callable, antialias: bool) -> torch.Tensor:
    """[size, target]: how much of each element goes into each new one."""
    inverse = 1.0 / scale
    stretch = inverse.clamp(min=1.0) if antialias else 1.0
    options = {"dtype": inverse.dtype, "device": inverse.device}
    centres = (torch.arange(target, **options) + 0.5) * inverse - shift * inverse - 0.5
    weights = kernel((centres[None] - torch.arange(size, **options)[:, None]).abs() / stretch)
    total = weights.sum(0, keepdim=True)
    small = 1000.0 * torch.finfo(torch.float32).eps
    weights = torch.where(total.abs() > small, weights / torch.where(total != 0, total, 1), 0)
    return torch.where((centres >= -0.5) & (centres <= size - 0.5), weights, 0)


def _spec(
    images: Any,
    output_shape: Any,
    scale: Any,
    translation: Any,
    spatial_dims: Any,
    method: str,
    antialias: bool = True,
) -> KerasTensor:
    return KerasTensor(output_shape, dtype=images.dtype)


@operation("images output_shape scale translation", spec=_spec)
def scale_and_translate(
    images: Any,
    output_shape: Any,
    scale: Any,
    translation: Any,
    spatial_dims: Any,
    method: str,
    antialias: bool = True,
) -> torch.Tensor:
    """Images scaled and moved along some axes: element i of an axis goes to `i * scale + translation`, at centres.

    Args:
        images: an array of any rank.
        output_shape: the result's shape.
        scale, translation: a number for each of `spatial_dims`.
        spatial_dims: the axes.
        method: `"linear"`, `"cubic"`, `"lanczos3"` or `"lanczos5"`, or one of their other names.
        antialias: whether an axis that shrinks is smoothed.

    >>> from fastk import ops
    >>> ops.image.scale_and_translate(ops.array([1.0, 3.0]), (4,), [2.0], [0.0], (0,), "linear")
    tensor([1.0000, 1.5000, 2.5000, 3.0000])
    """
    if method not in _KERNELS:
        raise ValueError(
            f"Invalid value for argument `method`. Expected of one {set(_KERNELS)}. Received: method={method}"
        )
    images = convert_to_tensor(images)
    scale, translation = convert_to_tensor(scale), convert_to_tensor(translation)
    dtype = dtypes.to_torch_dtype(
        dtypes.result_type(*map(dtypes.standardize_dtype, (scale.dtype, translation.dtype)), float)
    )
    scale, translation = scale.to(dtype), translation.to(dtype)
    result = images if images.is_floating_point() else images.float()
    for i, axis in enumerate(spatial_dims):
        size, target = images.shape[axis], output_shape[axis]
        weights = _weights(size, target, scale[i], translation[i], _KERNELS[method], antialias).to(result.dtype)
        result = torch.movedim(torch.matmul(torch.movedim(result, axis, -1), weights), -1, axis)
    if images.is_floating_point() or len(spatial_dims) == 0:
        return result.to(images.dtype)
    return result.round().clamp(images.min(), images.max()).to(images.dtype)
