"""A product with a matrix, and what commonly follows it."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_activation, check_dropout, check_vector
from fastk.dispatch import choose
from fastk.kernels.activation.aten import ACTIVATIONS


def dense(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    dropout_rate: float = 0.0,
    seed: Tensor | tuple[int, int] | None = None,
    implementation: str = "auto",
) -> Tensor:
    """dropout(activation(x kernel + bias)).

    Args:
        x: [..., K].
        kernel: [K, N], of the dtype of x.
        bias: [N], or None.
        activation: a name of `kernels.activation`, or None.
        dropout_rate: the share of outputs set to 0, the others being divided by 1 - rate.
        seed: (seed, offset) of the dropout mask, an int64 tensor [2] or two ints; needed where the rate is not 0.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: shapes that do not fit, an unknown activation, a rate without a seed.
        ImplementationUnavailable: the implementation asked for by name cannot run.

    >>> import torch
    >>> dense(torch.ones(2, 3), torch.ones(3, 1), torch.tensor([-4.0]), "relu").flatten()
    tensor([0., 0.])
    """
    if kernel.dim() != 2 or x.dim() < 1 or x.size(-1) != kernel.size(0):
        raise ValueError(
            f"dense multiplies x [..., K] by a kernel [K, N]. Received x of shape {tuple(x.shape)} and a kernel of "
            f"shape {tuple(kernel.shape)}."
        )
    if bias is not None and (bias.dim() != 1 or bias.size(0) != kernel.size(1)):
        check_vector(bias, kernel.size(1), "dense", "bias")
    if activation is not None and activation not in ACTIVATIONS:
        check_activation(activation, "dense")
    if dropout_rate:
        check_dropout(dropout_rate, seed, "dense")
    arguments = (x, kernel, bias, activation, dropout_rate, seed)
    return choose("dense", implementation, x, arguments).function(*arguments)
