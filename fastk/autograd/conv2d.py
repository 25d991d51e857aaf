"""Convolutions over images and sequences, channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from fastk.autograd.checks import check_activation, check_rank, check_vector, one, pair
from fastk.autograd.library import Call, autocast, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.activation import saves_input
from fastk.kernels.conv2d import aten as conv2d_aten
from fastk.kernels.depthwise_conv2d import aten as depthwise_aten
from fastk.kernels.window import Padding, Pair, axis_padding, explicit_padding, output_size


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
    steps, sides, dilation = _windows(x, kernel, strides, padding, dilation_rate, "conv2d")
    arguments = (x, kernel, bias, steps, sides, dilation, groups, activation)
    choice = choose("conv2d", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    x, kernel, bias = autocast(x, kernel, bias)
    flat = (*sides[0], *sides[1])
    return _conv2d(x, kernel, bias, steps, flat, dilation, groups, activation, choice.implementation)


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
    steps, sides, dilation = _windows(x, kernel, strides, padding, dilation_rate, "depthwise_conv2d")
    arguments = (x, kernel, bias, steps, sides, dilation, activation)
    choice = choose("depthwise_conv2d", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    x, kernel, bias = autocast(x, kernel, bias)
    flat = (*sides[0], *sides[1])
    return _depthwise_conv2d(x, kernel, bias, steps, flat, dilation, activation, choice.implementation)


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


# In the schemas padding is (top, bottom, left, right); `saved` is what the activation was taken of, where it is needed.


def _forward_shapes(x, kernel, bias, strides, padding, dilation, groups, activation):
    pads = (tuple(padding[:2]), tuple(padding[2:]))
    size = output_size(x.shape[1:3], kernel.shape[:2], strides, dilation, pads)
    y = x.new_empty(x.size(0), *size, kernel.size(3))
    return y, x.new_empty(y.shape if saves_input(activation) else 0)


def _depthwise_forward_shapes(x, kernel, bias, strides, padding, dilation, activation):
    return _forward_shapes(x, kernel.flatten(2).unsqueeze(2), bias, strides, padding, dilation, x.size(3), activation)


def _backward_shapes(g, x, kernel, *others):
    needed = others[-1]
    return (
        x.new_empty(x.shape if needed[0] else 0),
        x.new_empty(kernel.shape if needed[1] else 0),
        x.new_empty(g.size(3) if needed[2] else 0),
    )


def _gradients_by(backward: Callable[..., Sequence[Tensor]]) -> Callable[..., Sequence[Tensor | None]]:
    """The formula of the gradients of a convolution, `backward` being its op."""

    def gradients(call: Call, g: Tensor) -> Sequence[Tensor | None]:
        x, kernel, _, *options, implementation = call.arguments
        needed = call.needed[:3]
        found = backward(g, x, kernel, *call.outputs, *options, needed, implementation)
        return [gradient if need else None for gradient, need in zip(found, needed, strict=True)]

    return gradients


def _in_aten(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An ATen convolution as a function of the schema's arguments."""

    def convolution(x, kernel, bias, strides, padding, *others):
        return function(x, kernel, bias, strides, (tuple(padding[:2]), tuple(padding[2:])), *others)

    return convolution


_WINDOWS = "int[] strides, int[] padding, int[] dilation"
_conv2d = differentiate(
    define(
        f"conv2d_forward(Tensor x, Tensor kernel, Tensor? bias, {_WINDOWS}, int groups, str? activation)"
        " -> (Tensor, Tensor)",
        _forward_shapes,
    ),
    _gradients_by(
        define(
            f"conv2d_backward(Tensor g, Tensor x, Tensor kernel, Tensor y, Tensor saved, {_WINDOWS}, int groups,"
            " str? activation, bool[] needed) -> (Tensor, Tensor, Tensor)",
            _backward_shapes,
        )
    ),
    _in_aten(conv2d_aten.conv2d),
)
_depthwise_conv2d = differentiate(
    define(
        f"depthwise_conv2d_forward(Tensor x, Tensor kernel, Tensor? bias, {_WINDOWS}, str? activation)"
        " -> (Tensor, Tensor)",
        _depthwise_forward_shapes,
    ),
    _gradients_by(
        define(
            f"depthwise_conv2d_backward(Tensor g, Tensor x, Tensor kernel, Tensor y, Tensor saved, {_WINDOWS},"
            " str? activation, bool[] needed) -> (Tensor, Tensor, Tensor)",
            _backward_shapes,
        )
    ),
    _in_aten(depthwise_aten.depthwise_conv2d),
)


contested("conv2d", "conv2d", conv2d)
contested("depthwise_conv2d", "depthwise_conv2d", depthwise_conv2d)
