"""Dense as one GEMM of torch (`addmm`) and elementwise kernels; the derivative is torch's own."""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.kernels.activation.aten import EPILOGUES
from fastk.kernels.dropout.aten import dropout


def lies_transposed(kernel: Tensor) -> bool:
    """Whether W [K, N] is a view of a matrix [N, K], which is how torch's Linear has it."""
    return not kernel.is_contiguous() and kernel.t().is_contiguous()


def dense(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    activation: str | None,
    dropout_rate: float,
    seed: Tensor | tuple[int, int] | None,
) -> Tensor:
    """dropout(activation(x W + b)), W being [K, N]."""
    rows = x if x.dim() == 2 else x.reshape(-1, kernel.size(0))
    y = torch.mm(rows, kernel) if bias is None else torch.addmm(bias, rows, kernel)
    if activation is not None:
        y = EPILOGUES[activation](y)  # before the view below: in place on a view, backward would copy the gradient
    if x.dim() != 2:
        y = y.view(*x.shape[:-1], kernel.size(1))
    return dropout(y, dropout_rate, seed, None) if dropout_rate else y
