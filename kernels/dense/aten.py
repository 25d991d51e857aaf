"""Dense as one GEMM of torch (`addmm`) and elementwise kernels; the derivative is torch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fastk.kernels.activation.aten import EPILOGUES
from fastk.kernels.dropout.aten import dropout


def dense(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    activation: str | None,
    dropout_rate: float,
    seed: Tensor | tuple[int, int] | None,
) -> Tensor:
    """dropout(activation(x W + b)), W being [K, N]."""
    if x.dim() != 2:
        y = F.linear(x, kernel.t(), bias)
    elif bias is None:
        y = torch.mm(x, kernel)
    else:
        y = torch.addmm(bias, x, kernel)
    if activation is not None:
        y = EPILOGUES[activation](y)
    return dropout(y, dropout_rate, seed, None) if dropout_rate else y
