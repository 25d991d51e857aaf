"""dense in Triton: y = dropout(activation(z)) with z = x W + b, and its gradients.

Forward is one GEMM whose epilogue adds the bias, activates and drops (`triton_gemm`): besides the matrices nothing is
read, besides y nothing written, but for activations whose derivative needs z, which is then stored beside y.

    g' = g mask / (1 - rate) f'(y (1 - rate) or z),  db = sum over rows of g'     one pass (`kernels.triton_reduction`)
    dx = g' W^T                                                                    one GEMM
    dW = x^T g'                                                                    one GEMM, split over the rows

The mask is made again from its seed. Where it is not 0, y (1 - rate) is the activation's result; where it is 0, so is
the gradient. A mask over rows of N elements that 8 does not divide crosses them: dropout is then a pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.kernels.activation import before_dropout, saves_input
from fastk.kernels.activation.triton_kernels import activation_backward
from fastk.kernels.dense.aten import lies_transposed
from fastk.kernels.dense.triton_gemm import gemm
from fastk.kernels.dropout.triton_kernels import dropout_backward, dropout_forward
from fastk.kernels.triton_reduction import bias_gradient
from fastk.kernels.triton_runtime import INTERPRETED

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def supports(
    op: str,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    activation: str | None,
    dropout_rate: float,
    seed: object,
) -> str | None:
    """None, or a sentence saying why not."""
    if x.dtype not in _DTYPES and not (INTERPRETED and x.dtype == torch.float64):
        return f"the Triton kernel of dense takes float32, bfloat16 and float16, not {str(x.dtype).split('.')[-1]}"
    return None


def dense_forward(
    x: Tensor, kernel: Tensor, bias: Tensor | None, activation: str | None, dropout_rate: float, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(y, z), z empty where the activation's derivative needs none."""
    rows = _rows(x)
    fused = _fuses_dropout(kernel.size(1), dropout_rate)
    W, transposed = _as_it_lies(kernel)
    y, z = gemm(
        rows,
        W,
        trans_b=transposed,
        bias=None if bias is None else bias.contiguous(),
        activation=activation,
        seed=seed if fused else None,
        rate=dropout_rate if fused else 0.0,
    )
    if dropout_rate and not fused:
        assert seed is not None
        y = dropout_forward(y, dropout_rate, seed, None)
    shape = (*x.shape[:-1], kernel.size(1))
    return y.view(shape), x.new_empty(0) if z is None else z.view(shape)


def dense_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    y: Tensor,
    saved: Tensor,
    activation: str | None,
    dropout_rate: float,
    seed: Tensor | None,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dW, db) for those of x, kernel and bias that are `needed`; the others are empty."""
    columns = kernel.size(1)
    g, value = _rows(g), _rows(saved if saves_input(activation) else y)
    fused = _fuses_dropout(columns, dropout_rate)
    if dropout_rate and not fused:
        assert seed is not None
        g = dropout_backward(g, dropout_rate, seed, None)
    kept = before_dropout(activation, dropout_rate, y.dtype)
    if needed[2] or dropout_rate:
        g, db = bias_gradient(g, value, activation, seed if fused else None, dropout_rate if fused else 0.0, kept)
    else:
        g, db = (g if activation in (None, "linear") else activation_backward(g, value, activation)), None
    dx, dW = x.new_empty(0), x.new_empty(0)
    if needed[0]:
        W, transposed = _as_it_lies(kernel)
        dx = gemm(g, W, trans_b=not transposed)[0].view(x.shape)
    if needed[1]:
        rows = _rows(x)
        dW = gemm(g, rows, trans_a=True)[0].t() if lies_transposed(kernel) else gemm(rows, g, trans_a=True)[0]
    return dx, dW, db if db is not None and needed[2] else g.new_empty(0)


def _fuses_dropout(columns: int, rate: float) -> bool:
    return 0.0 < rate < 1.0 and columns % 8 == 0


def _as_it_lies(kernel: Tensor) -> tuple[Tensor, bool]:
    """(W [K, N], False), or (W^T [N, K], True) where that is what lies in memory: without a copy."""
    return (kernel.t(), True) if lies_transposed(kernel) else (kernel.contiguous(), False)


def _rows(x: Tensor) -> Tensor:
    """[..., N] as [M, N], contiguous; without elements the number of rows cannot be inferred."""
    return x.reshape(x.shape[:-1].numel(), x.size(-1)).contiguous()
