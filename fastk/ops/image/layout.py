"""Images: one (height, width, channels) or a batch of them, channels last or first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastk import config

__all__ = []


def check_rank(shape: Sequence[Any]) -> None:
    """Raises `ValueError` unless `shape` is that of an image or a batch."""
    if len(shape) not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={tuple(shape)}"
        )


def channels_axis(data_format: str | None) -> int:
    """The axis of the channels, from the end."""
    return -1 if config.standardize_data_format(data_format) == "channels_last" else -3


def size_axes(data_format: str | None) -> tuple[int, int]:
    """The axes of height and width, from the end."""
    return (-3, -2) if channels_axis(data_format) == -1 else (-2, -1)


def to_batch(images: torch.Tensor, data_format: str | None) -> torch.Tensor:
    """As (batch, channels, height, width)."""
    images = images if images.ndim == 4 else images.unsqueeze(0)
    return images if channels_axis(data_format) == -3 else torch.movedim(images, -1, 1)


def from_batch(batch: torch.Tensor, like: torch.Tensor, data_format: str | None) -> torch.Tensor:
    """The inverse of `to_batch`, with the rank of `like`; into integers, values are rounded."""
    images = batch if channels_axis(data_format) == -3 else torch.movedim(batch, 1, -1)
    images = images if like.ndim == 4 else images.squeeze(0)
    if images.dtype is like.dtype:
        return images
    return (images if like.is_floating_point() else torch.round(images)).to(like.dtype)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where that is given. (`torch.promote_types` would count as a value that is read.)"""
    return dtype if dtype is torch.float64 else torch.float32


def computable(images: torch.Tensor) -> torch.Tensor:
    """In float32, unless already in it or float64."""
    return images if images.dtype in (torch.float32, torch.float64) else images.float()
