"""Dropout as one kernel, forward and backward alike; see `dropout.cu`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.kernels.cupy_epilogue import dropout_numbers
from fastk.kernels.cupy_runtime import FLOATS, Kernel, line, packed, why_not_these

_DROPOUT = Kernel("dropout/dropout.cu", "dropout", FLOATS)


def supports(op: str, x: Tensor, rate: float, seed: object, noise_shape: tuple[int, ...] | None) -> str | None:
    """None, or why not."""
    return why_not_these(x.numel(), x)


def dropout_forward(x: Tensor, rate: float, seed: Tensor, noise_shape: Sequence[int] | None) -> Tensor:
    """x times the mask, which is drawn in `noise_shape` and broadcast."""
    if rate == 1.0:
        return torch.zeros_like(x, memory_format=torch.contiguous_format)
    if noise_shape is None or tuple(noise_shape) == x.shape:
        return _drop(x, rate, seed)
    # What is broadcast is small: drawn as factors, then multiplied.
    return x * _drop(x.new_ones(tuple(noise_shape)), rate, seed)


def dropout_backward(g: Tensor, rate: float, seed: Tensor, noise_shape: Sequence[int] | None) -> Tensor:
    """The gradient of x: g times the same mask."""
    return dropout_forward(g, rate, seed, noise_shape)


def _drop(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    x = packed(x)
    y = torch.empty_like(x)
    size = x.numel()
    _DROPOUT((x.dtype,), *line(-(-size // 8)), y, x, seed, size, *dropout_numbers(rate))
    return y
