"""What is compiled of the depthwise convolution: the windows of the common networks, forward and both gradients.

1000 channels are divisible by 8 and not by 16. Configurations follow from the window, as in a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fastk.kernels.depthwise_conv2d.triton_kernels import (
    depthwise_conv2d_forward,
    depthwise_input_gradient,
    depthwise_kernel_gradient,
)
from fastk.kernels.verify.case import Case

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_BATCH, _SIZE, _CHANNELS = 8, 56, 1000


def cases() -> Iterator[Case]:
    """Each window and stride, forward with and without a second result, and the gradients."""
    for dtype in _DTYPES:
        for window, stride in ((3, 1), (3, 2), (5, 1), (7, 1)):
            words, quick = f"{window}x{window} s{stride}", (window, stride) == (3, 1)
            yield Case("stencil_kernel", f"{words} relu", dtype, _forward(dtype, window, stride, "relu"), quick=quick)
            yield Case("stencil_kernel", f"{words} gelu", dtype, _forward(dtype, window, stride, "gelu"))
            yield Case("stencil_kernel", f"{words} backward", dtype, _input_gradient(dtype, window, stride))
            # Partial sums are float32 rows of one program each: a part in a thousand of the bytes, written narrowly.
            launch = _kernel_gradient(dtype, window, stride)
            yield Case("stencil_kernel_gradient_kernel", words, dtype, launch, wide=False, quick=quick)


def _empty(dtype: str, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=_DTYPES[dtype], device="meta")


def _tensors(dtype: str, window: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, kernel, and a gradient of the result."""
    x, g = (_empty(dtype, _BATCH, size, size, _CHANNELS) for size in (_SIZE, _SIZE // stride))
    return x, _empty(dtype, window, window, _CHANNELS, 1), g


def _forward(dtype: str, window: int, stride: int, activation: str) -> Callable[[], object]:
    def launch() -> None:
        x, kernel, _ = _tensors(dtype, window, stride)
        pad, bias = window // 2, _empty(dtype, _CHANNELS)
        depthwise_conv2d_forward(x, kernel, bias, (stride, stride), (pad,) * 4, (1, 1), activation)

    return launch


def _input_gradient(dtype: str, window: int, stride: int) -> Callable[[], object]:
    def launch() -> None:
        x, kernel, g = _tensors(dtype, window, stride)
        depthwise_input_gradient(g, x, kernel, (stride, stride), (window // 2, window // 2), (1, 1))

    return launch


def _kernel_gradient(dtype: str, window: int, stride: int) -> Callable[[], object]:
    def launch() -> None:
        x, kernel, g = _tensors(dtype, window, stride)
        depthwise_kernel_gradient(g, x, kernel, (stride, stride), (window // 2, window // 2), (1, 1))

    return launch
