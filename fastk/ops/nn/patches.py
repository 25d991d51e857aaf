"""Sliding blocks as columns and back, and blocks of space as channels and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "depth_to_space",
    "fold",
    "space_to_depth",
    "unfold",
]


@operation("x")
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> torch.Tensor:
    """The sliding blocks of images (batch, channels, height, width) as columns (batch, channels * block, blocks)."""
    return F.unfold(convert_to_tensor(x), kernel_size, dilation=dilation, padding=padding, stride=stride)


@operation("x")
def fold(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> torch.Tensor:
    """The inverse of `unfold`, overlapping blocks added: columns to images (batch, channels, *output_size)."""
    return F.fold(convert_to_tensor(x), output_size, kernel_size, dilation=dilation, padding=padding, stride=stride)


def _check_layout(data_format: str) -> bool:
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f"`data_format` must be 'channels_last' or 'channels_first'. Received: data_format={data_format!r}"
        )
    return data_format == "channels_last"


@operation("x")
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> torch.Tensor:
    """Channels as blocks of space: (batch, h, w, c * block_size**2) to (batch, h * block_size, w * block_size, c)."""
    x, last = convert_to_tensor(x), _check_layout(data_format)
    if last:
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height, width, block_size, block_size, channels // block_size**2).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height * block_size, width * block_size, channels // block_size**2)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // block_size**2, block_size, block_size, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // block_size**2, height * block_size, width * block_size)


@operation("x")
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> torch.Tensor:
    """Blocks of space as channels: the inverse of `depth_to_space`."""
    x, last = convert_to_tensor(x), _check_layout(data_format)
    if last:
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // block_size, block_size, width // block_size, block_size, channels)
        x = x.permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height // block_size, width // block_size, channels * block_size**2)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // block_size, block_size, width // block_size, block_size)
    x = x.permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * block_size**2, height // block_size, width // block_size)
