"""conv2d in Triton: y = activation(z + bias) with z the correlation of x with W, and its gradients.

    z[b, i, j, f] = sum over r, s, c of x[b, i sh + r dh - top, j sw + s dw - left, c] W[r, s, c, f]

Forward is one implicit GEMM whose epilogue adds the bias and applies the activation (`triton_correlation`). Saved is
the result, from which most activations know their derivative; for the others z, written beside it by the same kernel.

    gz = g f'(y or z), db = sum over pixels of gz     one pass over g (`kernels.triton_reduction`)
    dx = gz correlated backwards with W               the same implicit GEMM (`triton_correlation`)
    dW = patches of x times gz                        split over the pixels (`triton_kernel_gradient`)

A window of one pixel is a matrix product over all of them, and goes to `dense`.

Nothing is recomputed, no patch is stored, and no sum depends on the order in which programs run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.kernels.activation import saves_input
from fastk.kernels.activation.triton_kernels import activation_backward
from fastk.kernels.conv2d.triton_correlation import correlate, input_gradient
from fastk.kernels.conv2d.triton_kernel_gradient import kernel_gradient
from fastk.kernels.dense.triton_kernels import dense_backward, dense_forward
from fastk.kernels.triton_reduction import bias_gradient
from fastk.kernels.triton_runtime import INTERPRETED, float32_precision
from fastk.kernels.window import Padding, Pair, output_size

_LARGEST = 1 << 29  # elements: two images and the padding around them have offsets of 32 bits


def supports(
    op: str,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    activation: str | None,
) -> str | None:
    """None, or a sentence saying why not."""
    if x.dtype == torch.float64 and not INTERPRETED:
        return "the Triton convolution multiplies on tensor cores, and these have no float64 worth using"
    (top, bottom), (left, right) = padding
    area = (x.size(1) + top + bottom) * (x.size(2) + left + right)
    if max(area * x.size(3), area * x.size(0), kernel.numel()) >= _LARGEST:
        return f"one image, the kernel or the pixels of the batch are 2^29 elements or more (x: {tuple(x.shape)})"
    if max(groups, strides[0] * strides[1]) > 65535:
        return f"a launch has room for 65535 groups and strides, not for groups={groups}, strides={strides}"
    return None


def conv2d_forward(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str | None,
) -> tuple[Tensor, Tensor]:
    """(y, z); padding is (top, bottom, left, right), and z is empty where the activation's derivative needs none."""
    if _is_dense(kernel, strides, padding, groups):
        return dense_forward(x, kernel[0, 0], bias, activation, 0.0, None)
    x = x.contiguous()
    steps, pads, reach = _pairs(strides, padding, dilation)
    size = output_size(x.shape[1:3], kernel.shape[:2], steps, reach, pads)
    y = x.new_empty((x.size(0), *size, kernel.size(3)))
    z = torch.empty_like(y) if saves_input(activation) else None
    correlate(y, z, x, kernel, bias, steps, pads, reach, groups, activation, _precision(x))
    return y, x.new_empty(0) if z is None else z


def conv2d_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    y: Tensor,
    saved: Tensor,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str | None,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dW, db) for those of x, kernel and bias that are `needed`; the others are empty."""
    if _is_dense(kernel, strides, padding, groups):
        dx, dW, db = dense_backward(g, x, kernel[0, 0], y, saved, activation, 0.0, None, needed)
        return dx, dW.contiguous().view(kernel.shape) if needed[1] else dW, db
    gz, db = epilogue_gradient(g, saved if saves_input(activation) else y, activation, needed[2])
    windows = _pairs(strides, padding, dilation)
    dx, dW = x.new_empty(0), x.new_empty(0)
    if needed[0]:
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        input_gradient(dx, gz, kernel.contiguous(), *windows, groups, _precision(x))
    if needed[1]:
        dW = kernel_gradient(x.contiguous(), gz, (kernel.size(0), kernel.size(1)), *windows, groups, _precision(x))
    return dx, dW, db


def epilogue_gradient(g: Tensor, value: Tensor, activation: str | None, needs_bias: bool) -> tuple[Tensor, Tensor]:
    """(gz, db) of y = activation(z + bias), db empty unless needed; value is what `activation_gradient` takes."""
    g = g.contiguous()
    if needs_bias:
        gz, db = bias_gradient(g.flatten(0, -2), value.flatten(0, -2), activation)
        return gz.view(g.shape), db
    gz = g if activation in (None, "linear") else activation_backward(g, value, activation)
    return gz, g.new_empty(0)


def _is_dense(kernel: Tensor, strides: Sequence[int], padding: Sequence[int], groups: int) -> bool:
    """Whether every pixel is multiplied by one matrix, which `dense` does with copies of whole tiles."""
    return groups == 1 and kernel.size(0) == kernel.size(1) == 1 and max(strides) == 1 and not any(padding)


def _precision(x: Tensor) -> str:
    """How `tl.dot` multiplies tensors of x's dtype."""
    return float32_precision() if x.dtype == torch.float32 else "ieee"


def _pairs(strides, padding, dilation) -> tuple[Pair, Padding, Pair]:
    top, bottom, left, right = padding
    return (strides[0], strides[1]), ((top, bottom), (left, right)), (dilation[0], dilation[1])
