"""Dense as a GEMM of cuBLAS and one kernel for bias, activation and dropout; see `kernels.cupy_epilogue`.

    z = x W                        cuBLAS
    y = dropout(act(z + b))        one pass: z is read, y is written, in place unless act' needs z + b

    dz = g mask / (1 - rate) act'  one pass, which also leaves partial sums of db
    dx = dz W^T, dW = x^T dz       cuBLAS

The mask is made again from the seed. act' is taken from y where `kernels.activation.saves_input` is False.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.kernels.cupy_epilogue import epilogue_backward, epilogue_forward
from fastk.kernels.cupy_gemm import gemm
from fastk.kernels.cupy_runtime import why_not_these
from fastk.kernels.dense.aten import lies_transposed


def supports(
    op: str,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    activation: str | None,
    dropout_rate: float,
    seed: Tensor | tuple[int, int] | None,
) -> str | None:
    """None, or why not."""
    return why_not_these(x.numel() // max(1, kernel.size(0)) * kernel.size(1), x, kernel, bias)


def dense_forward(
    x: Tensor, kernel: Tensor, bias: Tensor | None, activation: str | None, dropout_rate: float, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(y, saved): saved is x W + b where backward needs it, else empty."""
    z = x.new_empty(*x.shape[:-1], kernel.size(1))
    if dropout_rate == 1.0:
        return z.zero_(), z.new_empty(0)
    gemm(_rows(x), kernel, _rows(z))
    return epilogue_forward(z, bias, activation, dropout_rate, seed)


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
    """(dx, dW, db); the ones not needed are empty."""
    dx = x.new_empty(x.shape if needed[0] else 0)
    dkernel = kernel.new_empty(0)
    if needed[1]:
        dkernel = (
            kernel.new_empty(kernel.shape[::-1]).t() if lies_transposed(kernel) else kernel.new_empty(kernel.shape)
        )
    if dropout_rate == 1.0:
        return dx.zero_(), dkernel.zero_(), kernel.new_zeros(kernel.size(1) if needed[2] else 0)
    dz, dbias = epilogue_backward(g, y, saved, activation, dropout_rate, seed, needed[2])
    dz = _rows(dz)
    if needed[0]:
        gemm(dz, kernel.t(), _rows(dx))
    if needed[1]:
        if lies_transposed(kernel):
            gemm(dz.t(), _rows(x), dkernel.t())
        else:
            gemm(_rows(x).t(), dz, dkernel)
    return dx, dkernel, dbias


def _rows(x: Tensor) -> Tensor:
    """[..., N] as [M, N]; in a tensor without elements M cannot be inferred."""
    return x if x.dim() == 2 else x.reshape(x.shape[:-1].numel(), x.size(-1))
