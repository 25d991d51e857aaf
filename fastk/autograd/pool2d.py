"""Pooling over images and sequences, channels last."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.autograd.checks import check_rank, one, pair
from fastk.dispatch import choose
from fastk.kernels.window import explicit_padding


def max_pool2d(
    x: Tensor,
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    implementation: str = "auto",
) -> Tensor:
    """The maximum of each window.

    Args:
        x: [B, H, W, C].
        pool_size: height and width of the window.
        strides: of height and width; None for the window's.
        padding: `"valid"`, or `"same"` (output ceil(H / stride); padding never wins).
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
    padding: str = "valid",
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


def _pool2d(op: str, x: Tensor, pool_size, strides, padding: str, implementation: str) -> Tensor:
    check_rank(x, 4, "[B, H, W, C]", op)
    window = pair(pool_size, "pool_size", op)
    steps = window if strides is None else pair(strides, "strides", op)
    pads = explicit_padding((x.size(1), x.size(2)), window, steps, (1, 1), _check_padding(padding, op))
    arguments = (x, window, steps, pads)
    return choose(op, implementation, x, arguments).function(*arguments)


def _pool1d(op: str, name: str, x: Tensor, pool_size, strides, padding: str, implementation: str) -> Tensor:
    check_rank(x, 3, "[B, T, C]", name)
    window = one(pool_size, "pool_size", name)
    step = window if strides is None else one(strides, "strides", name)
    pads = explicit_padding((1, x.size(1)), (1, window), (1, step), (1, 1), _check_padding(padding, name))
    arguments = (x.unsqueeze(1), (1, window), (1, step), pads)
    return choose(op, implementation, x, arguments).function(*arguments).squeeze(1)


def _check_padding(padding: str, op: str) -> str:
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` of {op} must be 'valid' or 'same'. Received: {padding!r}.")
    return padding
