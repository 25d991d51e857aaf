"""Colour spaces."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes
from fastk.ops.image.layout import channels_axis, check_rank
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "hsv_to_rgb",
    "rgb_to_grayscale",
    "rgb_to_hsv",
]


@operation("images", name="RGBToGrayscale")
def rgb_to_grayscale(images: Any, data_format: str | None = None) -> torch.Tensor:
    """The luma of images, in one channel. Source: ITU-R BT.601.

    Args:
        images: one image or a batch, of 3 channels, or of 1, which stays.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    images = convert_to_tensor(images)
    check_rank(images.shape)
    axis = channels_axis(data_format)
    if images.shape[axis] not in (1, 3):
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). Received input with shape: "
            f"images.shape={tuple(images.shape)}"
        )
    if images.shape[axis] == 1:
        return images.clone()
    red, green, blue = images.unbind(axis)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(images.dtype).unsqueeze(axis)


def _floating_planes(images: Any, data_format: str | None) -> tuple[tuple[torch.Tensor, ...], int]:
    images = convert_to_tensor(images)
    check_rank(images.shape)
    if not images.is_floating_point():
        raise ValueError(
            "Invalid images dtype: expected float dtype. Received: "
            f"images.dtype={dtypes.standardize_dtype(images.dtype)}"
        )
    axis = channels_axis(data_format)
    if images.shape[axis] != 3:
        raise ValueError(
            f"Invalid channel size: expected 3. Received input with shape: images.shape={tuple(images.shape)}"
        )
    return images.unbind(axis), axis


@operation("images", name="RGBToHSV")
def rgb_to_hsv(images: Any, data_format: str | None = None) -> torch.Tensor:
    """Red, green and blue in [0, 1] as hue, saturation and value in [0, 1]. Source: Smith, 1978."""
    (red, green, blue), axis = _floating_planes(images, data_format)
    value = torch.maximum(torch.maximum(red, green), blue)
    span = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = torch.where(value > 0, span / torch.where(value > 0, value, 1.0), 0.0)
    sixth = 1.0 / (6.0 * torch.where(span > 0, span, 1.0))
    hue = torch.where(value == green, sixth * (blue - red) + 2.0 / 6.0, sixth * (red - green) + 4.0 / 6.0)
    hue = torch.where(value == red, sixth * (green - blue), hue)
    hue = torch.where(span > 0, hue, 0.0)
    return torch.stack((torch.where(hue < 0, hue + 1.0, hue), saturation, value), dim=axis)


@operation("images", name="HSVToRGB")
def hsv_to_rgb(images: Any, data_format: str | None = None) -> torch.Tensor:
    """Hue, saturation and value in [0, 1] as red, green and blue: the inverse of `rgb_to_hsv`."""
    (hue, saturation, value), axis = _floating_planes(images, data_format)
    sector = torch.remainder(hue, 1.0) * 6.0
    shares = ((sector - 3.0).abs() - 1.0, 2.0 - (sector - 2.0).abs(), 2.0 - (sector - 4.0).abs())
    planes = [value * (1.0 - saturation + saturation * share.clamp(0.0, 1.0)) for share in shares]
    return torch.stack(planes, dim=axis)
