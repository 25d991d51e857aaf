"""Pooling over images and sequences, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fastk.autograd.checks import check_rank, one, pair
from fastk.autograd.library import Call, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.average_pool2d import aten as average
from fastk.kernels.max_pool2d import aten as maximum
from fastk.kernels.max_pool2d.geometry import Geometry, place_dtype
from fastk.kernels.window import Padding, Pair, explicit_padding


def max_pool2d(
    x: Tensor,
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str | Padding = "valid",
    implementation: str = "auto",
) -> Tensor:
    """The maximum of each window.

    Args:
        x: [B, H, W, C].
        pool_size: height and width of the window.
        strides: of height and width; None for the window's.
        padding: `"valid"`, `"same"` (output ceil(H / stride)), or ((top, bottom), (left, right)), equal at both sides
            of an axis and at most half of the window. Padding never wins.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        [B, H', W', C].

    Raises:
        ValueError: x is not of rank 4, or the window is larger than the image.

    >>> import torch
    >>> max_pool2d(torch.arange(6.0).view(1, 2, 3, 1), 2, 1).flatten()
    tensor([4., 5.])
    """
    return _pool2d("max_pool2d", x, pool_size, strides, padding, implementation)


def average_pool2d(
    x: Tensor,
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str | Padding = "valid",
    implementation: str = "auto",
) -> Tensor:
    """The mean of each window; with `padding="same"` of the elements inside the image alone. Else as `max_pool2d`.

    >>> import torch
    >>> average_pool2d(torch.arange(6.0).view(1, 2, 3, 1), 2, 2, "same").flatten()
    tensor([2.0000, 3.5000])
    """
    return _pool2d("average_pool2d", x, pool_size, strides, padding, implementation)


def max_pool1d(
    x: Tensor,
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    implementation: str = "auto",
) -> Tensor:
    """`max_pool2d` over sequences: x [B, T, C] gives [B, T', C].

    >>> import torch
    >>> max_pool1d(torch.tensor([3.0, 1.0, 2.0]).view(1, 3, 1), 2, 1).flatten()
    tensor([3., 2.])
    """
    return _pool1d("max_pool2d", "max_pool1d", x, pool_size, strides, padding, implementation)


def average_pool1d(
    x: Tensor,
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    implementation: str = "auto",
) -> Tensor:
    """`average_pool2d` over sequences: x [B, T, C] gives [B, T', C].

    >>> import torch
    >>> average_pool1d(torch.tensor([3.0, 1.0, 2.0]).view(1, 3, 1), 2, 1).flatten()
    tensor([2.0000, 1.5000])
    """
    return _pool1d("average_pool2d", "average_pool1d", x, pool_size, strides, padding, implementation)


def _pool2d(op: str, x: Tensor, pool_size, strides, padding: str | Padding, implementation: str) -> Tensor:
    check_rank(x, 4, "[B, H, W, C]", op)
    window = pair(pool_size, "pool_size", op)
    steps = window if strides is None else pair(strides, "strides", op)
    sides = padding if not isinstance(padding, str) else _check_padding(padding, op)
    pads = explicit_padding((x.size(1), x.size(2)), window, steps, (1, 1), _check_sides(sides, window, op))
    return _run(op, x, window, steps, pads, implementation)


def _pool1d(op: str, name: str, x: Tensor, pool_size, strides, padding: str, implementation: str) -> Tensor:
    check_rank(x, 3, "[B, T, C]", name)
    window = one(pool_size, "pool_size", name)
    step = window if strides is None else one(strides, "strides", name)
    pads = explicit_padding((1, x.size(1)), (1, window), (1, step), (1, 1), _check_padding(padding, name))
    return _run(op, x.unsqueeze(1), (1, window), (1, step), pads, implementation).squeeze(1)


def _run(op: str, x: Tensor, window: Pair, strides: Pair, padding: Padding, implementation: str) -> Tensor:
    arguments = (x, window, strides, padding)
    choice = choose(op, implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    pads = (*padding[0], *padding[1])
    if op == "average_pool2d":
        return _average_pool2d(x, window, strides, pads, choice.implementation)
    save = x.requires_grad and torch.is_grad_enabled()
    return _max_pool2d(x, window, strides, pads, save, choice.implementation)


def _check_padding(padding: str, op: str) -> str:
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` of {op} must be 'valid' or 'same'. Received: {padding!r}.")
    return padding


def _check_sides(padding: str | Padding, window: Pair, op: str) -> str | Padding:
    """'valid', 'same', or two pairs of equal numbers, at most half of the window's."""
    if isinstance(padding, str):
        return padding
    sides = tuple(tuple(side) for side in padding)
    if len(sides) != 2 or not all(
        len(side) == 2 and 0 <= side[0] == side[1] <= size // 2 for side, size in zip(sides, window, strict=True)
    ):
        raise ValueError(
            f"`padding` of {op} must be 'valid', 'same' or ((top, bottom), (left, right)), equal at both sides of an "
            f"axis and at most half of the window of {window}. Received: {padding!r}."
        )
    return sides  # type: ignore[return-value]


def _max_shapes(x: Tensor, window: Pair, strides: Pair, padding: Sequence[int], save: bool) -> tuple[Tensor, Tensor]:
    shape = Geometry(x.shape, window, strides, padding).output_shape
    return x.new_empty(shape), x.new_empty(shape if save else 0, dtype=place_dtype(window))


def _max_gradients(call: Call, g: Tensor) -> tuple[Tensor]:
    x, window, strides, padding, _, implementation = call.arguments
    return (_max_backward(g, call.outputs[1], x.shape, window, strides, padding, implementation),)


def _average_gradients(call: Call, g: Tensor) -> tuple[Tensor]:
    x, *options = call.arguments
    return (_average_backward(g, x.shape, *options),)


def _aten_max(x: Tensor, window: Pair, strides: Pair, padding: Sequence[int], save: bool) -> Tensor:
    top, bottom, left, right = padding
    return maximum.max_pool2d(x, window, strides, ((top, bottom), (left, right)))


def _aten_average(x: Tensor, window: Pair, strides: Pair, padding: Sequence[int]) -> Tensor:
    top, bottom, left, right = padding
    return average.average_pool2d(x, window, strides, ((top, bottom), (left, right)))


_max_forward = define(
    "max_pool2d_forward(Tensor x, SymInt[] window, SymInt[] strides, SymInt[] padding, bool save) -> (Tensor, Tensor)",
    _max_shapes,
)
_max_backward = define(
    "max_pool2d_backward(Tensor g, Tensor place, SymInt[] shape, SymInt[] window, SymInt[] strides, SymInt[] padding)"
    " -> Tensor",
    lambda g, place, shape, window, strides, padding: g.new_empty(shape),
)
_max_pool2d = differentiate(_max_forward, _max_gradients, _aten_max)

_average_forward = define(
    "average_pool2d_forward(Tensor x, SymInt[] window, SymInt[] strides, SymInt[] padding) -> Tensor",
    lambda x, window, strides, padding: x.new_empty(Geometry(x.shape, window, strides, padding).output_shape),
)
_average_backward = define(
    "average_pool2d_backward(Tensor g, SymInt[] shape, SymInt[] window, SymInt[] strides, SymInt[] padding) -> Tensor",
    lambda g, shape, window, strides, padding: g.new_empty(shape),
)
_average_pool2d = differentiate(_average_forward, _average_gradients, _aten_average)


contested("max_pool2d", "max_pool2d", partial(_run, "max_pool2d"))
contested("average_pool2d", "average_pool2d", partial(_run, "average_pool2d"))
