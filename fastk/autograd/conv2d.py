"""Convolutions over images and sequences, channels last."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.autograd.checks import check_activation, check_rank, check_vector, one, pair
from fastk.dispatch import choose
from fastk.kernels.window import Padding, Pair, axis_padding, explicit_padding


def conv2d(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    strides: int | Sequence[int] = 1,
    padding: str | Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
    activation: str | None = None,
    implementation: str = "auto",
) -> Tensor:
    """activation(x convolved with kernel + bias); as in all of deep learning, the kernel is not flipped.

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C / groups, F], of the dtype of x.
        bias: [F], or None.
        strides: of height and width.
        padding: `"valid"`, `"same"` (output ceil(H / stride), the odd zero at the far side), or the number of zeros
            ((top, bottom), (left, right)).
        dilation_rate: of height and width.
        groups: into how many the channels, and with them the filters, are split.
        activation: a name of `kernels.activation`, or None.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        [B, H', W', F].

    Raises:
        ValueError: shapes that do not fit, or a window larger than the padded image.

    >>> import torch
    >>> conv2d(torch.ones(1, 5, 5, 2), torch.ones(3, 3, 2, 4), strides=2, padding="same").shape
    torch.Size([1, 3, 3, 4])
    """
    check_rank(x, 4, "[B, H, W, C]", "conv2d")
    check_rank(kernel, 4, "[kh, kw, C / groups, F]", "conv2d", "kernel")
    channels, (kernel_channels, filters) = x.size(3), kernel.shape[2:]
    if groups < 1 or channels != kernel_channels * groups or filters % groups:
        raise ValueError(
            f"conv2d with groups={groups} expects x [B, H, W, C] and a kernel [kh, kw, C / groups, F], F a multiple "
            f"of groups. Received x of shape {tuple(x.shape)} and a kernel of shape {tuple(kernel.shape)}."
        )
    check_vector(bias, filters, "conv2d", "bias")
    check_activation(activation, "conv2d")
    arguments = (x, kernel, bias, *_windows(x, kernel, strides, padding, dilation_rate, "conv2d"), groups, activation)
    return choose("conv2d", implementation, x, arguments).function(*arguments)


def conv1d(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    strides: int | Sequence[int] = 1,
    padding: str | tuple[int, int] = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
    activation: str | None = None,
    implementation: str = "auto",
) -> Tensor:
    """`conv2d` over sequences: x [B, T, C], kernel [k, C / groups, F], result [B, T', F].

    padding may also be `"causal"` (dilation * (k - 1) zeros before the sequence, so that no step sees a later one), or
    the number of zeros (before, after).

    >>> import torch
    >>> conv1d(torch.ones(1, 4, 1), torch.ones(2, 1, 1), padding="causal").flatten()
    tensor([1., 2., 2., 2.])
    """
    check_rank(x, 3, "[B, T, C]", "conv1d")
    check_rank(kernel, 3, "[k, C / groups, F]", "conv1d", "kernel")
    if isinstance(padding, str) and padding not in ("valid", "same", "causal"):
        raise ValueError(
            f"`padding` of conv1d must be 'valid', 'same', 'causal' or two integers. Received: {padding!r}."
        )
    stride, dilation = one(strides, "strides", "conv1d"), one(dilation_rate, "dilation_rate", "conv1d")
    sides = axis_padding(x.size(1), kernel.size(0), stride, dilation, padding)
    y = conv2d(
        x.unsqueeze(1),
        kernel.unsqueeze(0),
        bias,
        (1, stride),
        ((0, 0), sides),
        (1, dilation),
        groups,
        activation,
        implementation,
    )
    return y.squeeze(1)


def depthwise_conv2d(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    strides: int | Sequence[int] = 1,
    padding: str | Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    activation: str | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Each channel convolved with its own filters: x [B, H, W, C], kernel [kh, kw, C, M], result [B, H', W', C M].

    The filters of channel c make the outputs c M to c M + M - 1. The other arguments are those of `conv2d`.

    >>> import torch
    >>> depthwise_conv2d(torch.ones(1, 3, 3, 2), torch.ones(3, 3, 2, 1)).flatten()
    tensor([9., 9.])
    """
    check_rank(x, 4, "[B, H, W, C]", "depthwise_conv2d")
    check_rank(kernel, 4, "[kh, kw, C, M]", "depthwise_conv2d", "kernel")
    channels, (kernel_channels, multiplier) = x.size(3), kernel.shape[2:]
    if channels != kernel_channels:
        raise ValueError(
            f"depthwise_conv2d expects x [B, H, W, C] and a kernel [kh, kw, C, M]. Received x of shape "
            f"{tuple(x.shape)} and a kernel of shape {tuple(kernel.shape)}."
        )
    check_vector(bias, channels * multiplier, "depthwise_conv2d", "bias")
    check_activation(activation, "depthwise_conv2d")
    arguments = (x, kernel, bias, *_windows(x, kernel, strides, padding, dilation_rate, "depthwise_conv2d"), activation)
    return choose("depthwise_conv2d", implementation, x, arguments).function(*arguments)


def _windows(x: Tensor, kernel: Tensor, strides, padding, dilation_rate, op: str) -> tuple[Pair, Padding, Pair]:
    """(strides, explicit padding, dilation) of both axes."""
    steps, dilation = pair(strides, "strides", op), pair(dilation_rate, "dilation_rate", op)
    (_, height, width, _), (kernel_height, kernel_width, _, _) = x.shape, kernel.shape
    sides = _check_padding(padding, op)
    pads = explicit_padding((height, width), (kernel_height, kernel_width), steps, dilation, sides)
    return steps, pads, dilation


def _check_padding(padding: str | Padding, op: str) -> str | Padding:
    """'valid', 'same', or two pairs of numbers of zeros, as tuples."""
    if isinstance(padding, str):
        if padding in ("valid", "same"):
            return padding
    elif len(padding) == 2 and all(len(side) == 2 and min(side) >= 0 for side in padding):
        (top, bottom), (left, right) = padding
        return (top, bottom), (left, right)
    raise ValueError(
        f"`padding` of {op} must be 'valid', 'same' or ((top, bottom), (left, right)), not negative. "
        f"Received: {padding!r}."
    )
