"""Sliding blocks as columns and back, and blocks of space as channels and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk.graph.keras_tensor import KerasTensor
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
    x = convert_to_tensor(x)
    if x.ndim != 3:
        raise ValueError(
            f"`fold` requires a 3D input (batch, channels * block, blocks). Received: x.shape={tuple(x.shape)}"
        )
    return F.fold(x, output_size, kernel_size, dilation=dilation, padding=padding, stride=stride)


def _check(x: Any, block_size: int, data_format: str, name: str) -> tuple[int, int, int]:
    """The axes of height, width and channels."""
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f"`data_format` must be 'channels_last' or 'channels_first'. Received: data_format={data_format!r}"
        )
    if block_size < 2:
        raise ValueError(f"`block_size` must be at least 2. Received: block_size={block_size}")
    if len(x.shape) != 4:
        raise ValueError(f"`{name}` requires a 4D input tensor. Received: x.shape={tuple(x.shape)}")
    return (1, 2, 3) if data_format == "channels_last" else (2, 3, 1)


def _depth_to_space_spec(x: Any, block_size: int, data_format: str = "channels_last") -> KerasTensor:
    height, width, channels = _check(x, block_size, data_format, "depth_to_space")
    shape = list(x.shape)
    if shape[channels] is not None and shape[channels] % block_size**2:
        raise ValueError(
            f"The number of channels ({shape[channels]}) must be divisible by block_size**2 ({block_size**2})."
        )
    shape[channels] = None if shape[channels] is None else shape[channels] // block_size**2
    for axis in (height, width):
        shape[axis] = None if shape[axis] is None else shape[axis] * block_size
    return KerasTensor(shape, dtype=x.dtype)


@operation("x", spec=_depth_to_space_spec)
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> torch.Tensor:
    """Channels as blocks of space: (batch, h, w, c * block_size**2) to (batch, h * block_size, w * block_size, c)."""
    x = convert_to_tensor(x)
    _depth_to_space_spec(x, block_size, data_format)
    if data_format == "channels_last":
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height, width, block_size, block_size, channels // block_size**2).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height * block_size, width * block_size, channels // block_size**2)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // block_size**2, block_size, block_size, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // block_size**2, height * block_size, width * block_size)


def _space_to_depth_spec(x: Any, block_size: int, data_format: str = "channels_last") -> KerasTensor:
    height, width, channels = _check(x, block_size, data_format, "space_to_depth")
    shape = list(x.shape)
    for axis, name in ((height, "height"), (width, "width")):
        if shape[axis] is not None and shape[axis] % block_size:
            raise ValueError(f"The {name} ({shape[axis]}) must be divisible by block_size ({block_size}).")
        shape[axis] = None if shape[axis] is None else shape[axis] // block_size
    shape[channels] = None if shape[channels] is None else shape[channels] * block_size**2
    return KerasTensor(shape, dtype=x.dtype)


@operation("x", spec=_space_to_depth_spec)
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> torch.Tensor:
    """Blocks of space as channels: the inverse of `depth_to_space`."""
    x = convert_to_tensor(x)
    _space_to_depth_spec(x, block_size, data_format)
    if data_format == "channels_last":
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // block_size, block_size, width // block_size, block_size, channels)
        x = x.permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height // block_size, width // block_size, channels * block_size**2)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // block_size, block_size, width // block_size, block_size)
    x = x.permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * block_size**2, height // block_size, width // block_size)
