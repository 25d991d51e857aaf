"""Seeded dropout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.autograd.checks import check_dropout
from fastk.autograd.library import Call, define, differentiate, seed_tensor
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.dropout import aten


def dropout(
    x: Tensor,
    rate: float,
    seed: Tensor | tuple[int, int] | None,
    noise_shape: Sequence[int | None] | None = None,
    implementation: str = "auto",
) -> Tensor:
    """x with a share `rate` of its elements set to 0 and the others divided by 1 - rate (Srivastava et al. 2014).

    Args:
        x: any shape.
        rate: in [0, 1].
        seed: (seed, offset), an int64 tensor [2] or two ints: equal numbers give equal masks. Not needed at rate 0.
        noise_shape: of x's rank, 1 or x's size (or None for it) on each axis: the mask is drawn in this shape and
            broadcast. None: x's own.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: a rate outside [0, 1] or without a seed; a noise shape that does not broadcast to x's.

    >>> import torch
    >>> torch.equal(dropout(torch.ones(9), 0.5, (1, 2)), dropout(torch.ones(9), 0.5, torch.tensor([1, 2])))
    True
    """
    check_dropout(rate, seed, "dropout")
    shape = None if noise_shape is None else _noise_shape(tuple(x.shape), noise_shape)
    arguments = (x, rate, seed, shape)
    choice = choose("dropout", implementation, x, arguments)
    if choice.implementation == "aten" or rate == 0.0:
        return aten.dropout(*arguments)
    return _dropout(x, rate, seed_tensor(seed, x.device), shape, choice.implementation)


def _noise_shape(shape: tuple[int, ...], noise_shape: Sequence[int | None]) -> tuple[int, ...]:
    if len(noise_shape) == len(shape):
        full = tuple(size if noise is None else noise for noise, size in zip(noise_shape, shape, strict=True))
        if all(noise in (1, size) for noise, size in zip(full, shape, strict=True)):
            return full
    raise ValueError(
        f"`noise_shape` must have, on each axis of x, the size 1 or that of x. Received noise_shape="
        f"{tuple(noise_shape)} for x of shape {shape}."
    )


def _gradients(call: Call, g: Tensor) -> tuple[Tensor]:
    return (_backward(g, *call.arguments[1:]),)


_forward = define(
    "dropout_forward(Tensor x, float rate, Tensor seed, SymInt[]? noise_shape) -> Tensor",
    lambda x, rate, seed, noise_shape: x.new_empty(x.shape),
)
_backward = define(
    "dropout_backward(Tensor g, float rate, Tensor seed, SymInt[]? noise_shape) -> Tensor",
    lambda g, rate, seed, noise_shape: g.new_empty(g.shape),
)
_dropout = differentiate(_forward, _gradients, aten.dropout)


contested("dropout", "dropout", dropout, varying=(2,))
