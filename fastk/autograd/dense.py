"""A product with a matrix, and what commonly follows it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.autograd.checks import check_activation, check_dropout, check_vector
from fastk.autograd.library import Call, autocast, define, differentiate, seed_tensor
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.activation import saves_input
from fastk.kernels.activation.aten import ACTIVATIONS
from fastk.kernels.dense import aten


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
    choice = choose("dense", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    x, kernel, bias = autocast(x, kernel, bias)
    return _dense(x, kernel, bias, activation, dropout_rate, seed_tensor(seed, x.device), choice.implementation)


def _forward_shapes(x, kernel, bias, activation, dropout_rate, seed):
    y = x.new_empty(*x.shape[:-1], kernel.size(1))
    return y, x.new_empty(y.shape if saves_input(activation) else 0)


def _backward_shapes(g, x, kernel, y, saved, activation, dropout_rate, seed, needed):
    dkernel = x.new_empty(kernel.shape[::-1]).t() if aten.lies_transposed(kernel) else x.new_empty(kernel.shape)
    return (
        x.new_empty(x.shape if needed[0] else 0),
        dkernel if needed[1] else x.new_empty(0),
        x.new_empty(kernel.size(1) if needed[2] else 0),
    )


def _gradients(call: Call, g: Tensor) -> Sequence[Tensor | None]:
    x, kernel, _, activation, dropout_rate, seed, implementation = call.arguments
    y, saved = call.outputs
    needed = call.needed[:3]
    found = _backward(g, x, kernel, y, saved, activation, dropout_rate, seed, needed, implementation)
    return [gradient if need else None for gradient, need in zip(found, needed, strict=True)]


_forward = define(
    "dense_forward(Tensor x, Tensor kernel, Tensor? bias, str? activation, float dropout_rate, Tensor? seed)"
    " -> (Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "dense_backward(Tensor g, Tensor x, Tensor kernel, Tensor y, Tensor saved, str? activation, float dropout_rate,"
    " Tensor? seed, bool[] needed) -> (Tensor, Tensor, Tensor)",
    _backward_shapes,
)
_dense = differentiate(_forward, _gradients, aten.dense)


contested("dense", "dense", dense, varying=(5,))
