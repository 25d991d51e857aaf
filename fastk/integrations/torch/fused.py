"""The fused calls that take the place of chains of torch's layers. They read parameters and flags at each call.

Images keep torch's shape [B, C, H, W]. fastk's kernels want channels last, which torch calls a memory format: such
images are permuted views for nothing. `Chain` says what is done with others.

On the CPU the ops of fastk are torch's own calls (ATen), made here directly, activations in place. There dropout is
torch's as well: the same masks from the same `torch.manual_seed`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fastk import autograd, config
from fastk.kernels.activation.aten import epilogue
from fastk.kernels.max_pool2d.aten import LARGE

_LAST = torch.channels_last
_WORTH_FOLDING = 1 << 16  # elements of a result; folding takes six calls on vectors and one on the kernel


def by_torch(x: Tensor) -> bool:
    """Whether fastk's ops are ATen for this tensor, so that torch's own call is the same."""
    asked = config.kernels()
    return asked == "aten" or (asked == "auto" and not x.is_cuda)


def draw_seed(x: Tensor) -> Tensor:
    """(seed, offset) of a mask, from torch's generator of x's device: `torch.manual_seed` repeats it."""
    return torch.randint(0, 2**62, (2,), device=x.device)


def is_channels_last(x: Tensor) -> bool:
    """Whether an image [B, C, H, W] is a permuted view of a contiguous [B, H, W, C], and torch takes it for one.

    One of one channel, or of one pixel, is both; there torch goes by the strides, and so does its result.
    """
    if not x.is_contiguous(memory_format=_LAST):
        return False
    if not x.is_contiguous():
        return True
    least = 0
    for size, stride in [(x.size(axis), x.stride(axis)) for axis in (1, 3, 2, 0)]:
        if stride < least or size == 0:
            return False
        least = stride * max(size, 1)
    return x.stride(0) != x.stride(1)


def channels_last(x: Tensor) -> Tensor:
    """x channels last, by a copy unless it is already."""
    if is_channels_last(x):
        return x
    if x.is_contiguous(memory_format=_LAST):  # and contiguous: strides alone make the difference
        _, channels, rows, columns = x.shape
        return x.as_strided(x.shape, (channels * rows * columns, 1, channels * columns, channels))
    return x.contiguous(memory_format=_LAST)


class Dropout:
    """Whether and how much is dropped: of a module, or of a function with its `p` and `training`."""

    def __init__(self, module: nn.Dropout | None, p: float = 0.5, training: bool = True):
        self.module, self.p, self.training = module, p, training

    @property
    def rate(self) -> float:
        """0 outside of training."""
        if self.module is not None:
            return self.module.p if self.module.training else 0.0
        return self.p if self.training else 0.0


class Call:
    """A function of a graph; torch.fx asks for its name."""

    __name__ = "call"


class Dense(Call):
    """Linear, activation, dropout, the last two if there are any."""

    def __init__(self, linear: nn.Linear, activation: str | None, dropout: Dropout | None):
        self.linear, self.activation, self.dropout = linear, activation, dropout

    def __call__(self, x: Tensor) -> Tensor:
        """Of x [..., K]."""
        linear = self.linear
        rate = 0.0 if self.dropout is None else self.dropout.rate
        if by_torch(x):
            y = epilogue(F.linear(x, linear.weight, linear.bias), self.activation)
            return F.dropout(y, rate) if rate else y
        seed = draw_seed(x) if rate else None
        return autograd.dense(x, linear.weight.t(), linear.bias, self.activation, rate, seed)


class Chain:
    """Convolutions, normalizations and pools that follow each other, and what lies between them.

    Where at least two of them slide windows, images that are not channels last become so before the first, and again
    what torch would have made of them at the end (`Border`). A single one is not worth two copies: then
    torch's calls are made, activations in place, unless the images are channels last already.
    """

    def __init__(self) -> None:
        self.windows = 0

    def enter(self, x: Tensor) -> Tensor | None:
        """x channels last, or None where that is not worth it."""
        if x.dim() != 4:
            return None
        return channels_last(x) if self.windows > 1 or is_channels_last(x) else None


class Convolution(Call):
    """Conv2d, batch normalization and activation, the last two if there are any."""

    def __init__(self, chain: Chain, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: str | None):
        self.chain, self.conv, self.norm, self.activation = chain, conv, norm, activation
        (rows, columns), (height, width) = conv.stride, conv.kernel_size
        products = height * width * conv.in_channels // conv.groups
        # Elements of the images from which on folding takes less than a pass over the result.
        pixels = max(2 * products, _WORTH_FOLDING // conv.out_channels)
        self._least = rows * columns * conv.in_channels * pixels

    def __call__(self, x: Tensor) -> Tensor:
        """Of images [B, C, H, W]."""
        conv, norm = self.conv, self.norm
        images = self.chain.enter(x)
        run = self._by_torch if images is None or by_torch(x) else self._by_fastk
        x = x if images is None else images
        if norm is None:
            return run(x, conv.weight, conv.bias, self.activation)
        if self._folds(x, norm):
            return run(x, *folded(conv, norm), self.activation)
        y = run(x, conv.weight, conv.bias, None)
        finish = _normalized_by_torch if run == self._by_torch else normalized
        return finish(y, norm, self.activation)

    def _by_torch(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        conv = self.conv
        y = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        return epilogue(y, activation)

    def _by_fastk(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        conv = self.conv
        x = x.permute(0, 2, 3, 1)
        windows = (conv.stride, explicit_padding(conv), conv.dilation)
        if 1 < conv.groups == conv.in_channels:
            kernel = weight.unflatten(0, (conv.groups, -1)).squeeze(2).permute(2, 3, 0, 1)
            y = autograd.depthwise_conv2d(x, kernel, bias, *windows, activation)
        else:
            y = autograd.conv2d(x, weight.permute(2, 3, 1, 0), bias, *windows, conv.groups, activation)
        return y.permute(0, 3, 1, 2)

    def _folds(self, x: Tensor, norm: nn.BatchNorm2d) -> bool:
        """Whether the normalization is to be part of the kernel: one pass less over the result.

        Not where gradients are asked for, which the kernel's would have to pass through. The kernel is made anew at
        each call, for nothing tells for sure that no weight has changed; so not where that costs more than the pass.
        """
        return (
            x.numel() >= self._least
            and x.dim() == 4
            and not _uses_batch(norm)
            and not torch.is_grad_enabled()
            and norm.running_var is not None
            and x.dtype == norm.running_var.dtype
            and not torch.is_autocast_enabled(x.device.type)
        )


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(kernel, bias) of a convolution and the normalization by running statistics that follows it."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = torch.rsqrt(variance + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = mean if conv.bias is None else mean - conv.bias
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias
    return conv.weight * scale.view(-1, 1, 1, 1), torch.addcmul(beta, shift, scale, value=-1.0)


class Normalization(Call):
    """Batch normalization of images and an activation, if there is one."""

    def __init__(self, chain: Chain, norm: nn.BatchNorm2d, activation: str | None):
        self.chain, self.norm, self.activation = chain, norm, activation

    def __call__(self, x: Tensor) -> Tensor:
        """Of images [B, C, H, W]."""
        images = None if by_torch(x) else self.chain.enter(x)
        if images is None:
            return _normalized_by_torch(x, self.norm, self.activation)
        return normalized(images, self.norm, self.activation)


class MaxPool(Call):
    """Maxima of windows."""

    def __init__(self, chain: Chain, window: Any, strides: Any, padding: Any):
        self.chain = chain
        self.window, self.padding = pair(window), pair(padding)
        self.strides = self.window if strides is None or strides == [] else pair(strides)

    def __call__(self, x: Tensor) -> Tensor:
        """Of images [B, C, H, W]."""
        images = self.chain.enter(x)
        x = x if images is None else images
        if images is None or (by_torch(x) and (torch.is_grad_enabled() or x.numel() < LARGE)):
            return F.max_pool2d(x, self.window, self.strides, self.padding)
        return max_pool(x, self.window, self.strides, self.padding)


def max_pool(x: Tensor, window: Any, strides: Any, padding: Any) -> Tensor:
    """Maxima of the windows of images [B, C, H, W] that are channels last."""
    (rows, columns) = padding
    pads = ((rows, rows), (columns, columns))
    return autograd.max_pool2d(x.permute(0, 2, 3, 1), window, strides, pads).permute(0, 3, 1, 2)


class Border(Call):
    """The end of a chain: its images lie in memory as torch's own calls would have left them."""

    def __init__(self, chain: Chain, convs: set[nn.Conv2d]):
        self.chain, self.convs = chain, convs

    def __call__(self, y: Tensor, entered: Tensor) -> Tensor:
        """y, the chain having begun with `entered` and come through `convs`."""
        if self.chain.windows < 2 or y.dim() != 4 or entered.dim() != 4 or is_channels_last(entered):
            return y
        if any(is_channels_last(conv.weight) for conv in self.convs):  # so are its results then
            return y
        return y.contiguous()


def normalized(x: Tensor, norm: nn.BatchNorm2d, activation: str | None) -> Tensor:
    """A BatchNorm2d, its running statistics kept, of images [B, C, H, W] that are channels last."""
    rows = x.permute(0, 2, 3, 1)
    count = rows.numel() // max(1, rows.size(-1))
    follows = norm.training and norm.track_running_stats
    if _uses_batch(norm) and (count < 2 or (follows and norm.momentum is None)):
        return _normalized_by_torch(x, norm, activation)  # torch's error; and a mean whose weight the host computes
    statistics = (None, None) if _uses_batch(norm) else (norm.running_mean, norm.running_var)
    y, mean, variance = autograd.batch_norm(
        rows, norm.weight, norm.bias, *statistics, -1, norm.eps, _uses_batch(norm), None, activation
    )
    if follows and norm.running_mean is not None and norm.running_var is not None:
        momentum = norm.momentum
        assert momentum is not None and norm.num_batches_tracked is not None
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
            norm.running_var.lerp_(variance.to(norm.running_var.dtype) * (count / (count - 1)), momentum)
    return y.permute(0, 3, 1, 2)


def _normalized_by_torch(x: Tensor, norm: nn.BatchNorm2d, activation: str | None) -> Tensor:
    """torch's own normalization; nothing but its forward would happen in a call of the module."""
    if norm.training or x.dim() != 4:
        return epilogue(norm.forward(x), activation)
    mean, variance = norm.running_mean, norm.running_var
    fast = torch.backends.cudnn.enabled
    y = torch.batch_norm(x, norm.weight, norm.bias, mean, variance, mean is None, 0.0, norm.eps, fast)
    return epilogue(y, activation)


def _uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether the batch's own statistics are used."""
    return norm.training or (norm.running_mean is None and norm.running_var is None)


def explicit_padding(conv: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a Conv2d that pads with zeros, also by 'same' and 'valid'."""
    left, right, top, bottom = conv._reversed_padding_repeated_twice
    return (top, bottom), (left, right)


def pair(value: Any) -> tuple[int, int]:
    """torch's way of giving one number for both axes, or one for each."""
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])
