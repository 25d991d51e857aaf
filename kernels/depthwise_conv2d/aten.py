"""Depthwise convolution as torch's grouped convolution, one group a channel."""

from __future__ import annotations

from torch import Tensor

from fastk.kernels.conv2d.aten import conv2d
from fastk.kernels.window import Padding, Pair


def depthwise_conv2d(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    activation: str | None,
) -> Tensor:
    """Each channel of x [B, H, W, C] convolved with its own M filters of W [kh, kw, C, M]."""
    height, width, channels, multiplier = kernel.shape
    grouped = kernel.reshape(height, width, 1, channels * multiplier)
    return conv2d(x, grouped, bias, strides, padding, dilation, channels, activation)
