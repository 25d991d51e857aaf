"""The largest elements, error functions, distances, windows of sequences, complex numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import floating
from fastk.ops.registration import elementwise, operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "cdist",
    "erf",
    "erfc",
    "erfinv",
    "extract_sequences",
    "in_top_k",
    "logdet",
    "logsumexp",
    "rsqrt",
    "top_k",
    "view_as_complex",
    "view_as_real",
]


@elementwise("x")
def rsqrt(x: Any) -> torch.Tensor:
    """`1 / sqrt(x)`."""
    return torch.rsqrt(floating(x))


@elementwise("x")
def erf(x: Any) -> torch.Tensor:
    """The error function."""
    return torch.erf(floating(x))


@elementwise("x")
def erfc(x: Any) -> torch.Tensor:
    """`1 - erf(x)`, exact for large `x`."""
    return torch.erfc(floating(x))


@elementwise("x")
def erfinv(x: Any) -> torch.Tensor:
    """The inverse of `erf`."""
    return torch.erfinv(floating(x))


@operation("x")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """`log(sum(exp(x)))` along `axis`, without overflow.

    >>> from fastk import ops
    >>> ops.logsumexp([-1000.0, -1000.0]) + 1000.0
    tensor(0.6932)
    """
    x = floating(x)
    return torch.logsumexp(x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)


# ---------------------------------------------------------------- the largest


class TopK(NamedTuple):
    """What `top_k` returns."""

    values: Any
    indices: Any


def _top_k_spec(x: Any, k: int, sorted: bool = True) -> TopK:
    shape = (*x.shape[:-1], k)
    return TopK(KerasTensor(shape, dtype=x.dtype), KerasTensor(shape, dtype="int32"))


@operation("x", spec=_top_k_spec)
def top_k(x: Any, k: int, sorted: bool = True) -> TopK:
    """The `k` largest elements along the last axis, and their indices.

    Args:
        x: tensor.
        k: how many.
        sorted: whether the largest comes first.

    >>> from fastk import ops
    >>> values, indices = ops.top_k([1.0, 3.0, 2.0], 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [1, 2])
    """
    values, indices = torch.topk(convert_to_tensor(x), k, sorted=sorted)
    return TopK(values, indices.to(torch.int32))


def _in_top_k_spec(targets: Any, predictions: Any, k: int) -> KerasTensor:
    return KerasTensor(targets.shape, dtype="bool")


@operation("targets predictions", spec=_in_top_k_spec)
def in_top_k(targets: Any, predictions: Any, k: int) -> torch.Tensor:
    """Whether each target class is among the `k` largest predictions, ties with the last of them included.

    Args:
        targets: (batch,), integers.
        predictions: (batch, classes).
        k: how many predictions count.
    """
    targets, predictions = convert_to_tensor(targets, dtype="int64"), convert_to_tensor(predictions)
    least = torch.topk(predictions, min(k, predictions.shape[-1])).values[..., -1]
    return torch.gather(predictions, -1, targets.unsqueeze(-1)).squeeze(-1) >= least


# ---------------------------------------------------------------- distances and sequences


@operation("x y", name="CDist")
def cdist(x: Any, y: Any) -> torch.Tensor:
    """The Euclidean distance of each row of `x` from each row of `y`: (..., n, d) and (..., m, d) give (..., n, m)."""
    x, y = floating(x), floating(y)
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError(f"`cdist` inputs must have rank >= 2. Received shapes: {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"Last dimension of inputs to `cdist` must match. Received shapes: {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), dim=-1)


def _extract_sequences_spec(x: Any, sequence_length: int, sequence_stride: int) -> KerasTensor:
    if not x.shape:
        raise ValueError(f"Input should have rank >= 1. Received: input.shape = {x.shape}")
    size = x.shape[-1]
    count = None if size is None else 1 + (size - sequence_length) // sequence_stride
    return KerasTensor((*x.shape[:-1], count, sequence_length), dtype=x.dtype)


@operation("x", spec=_extract_sequences_spec)
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> torch.Tensor:
    """The windows of the last axis, as a new last axis.

    >>> from fastk import ops
    >>> ops.extract_sequences(ops.arange(5), 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    return convert_to_tensor(x).unfold(-1, sequence_length, sequence_stride).contiguous()


@operation("x")
def logdet(x: Any) -> torch.Tensor:
    """The logarithm of the determinant of square matrices."""
    return torch.logdet(floating(x))


@operation("x")
def view_as_complex(x: Any) -> torch.Tensor:
    """Pairs (real, imaginary) along the last axis as complex numbers, in complex64."""
    x = convert_to_tensor(x)
    if x.ndim < 1 or x.shape[-1] != 2:
        raise ValueError(
            f"Last dimension of input must be size 2 (real and imaginary). Received shape: {tuple(x.shape)}"
        )
    return torch.view_as_complex(floating(x).float().contiguous())


@operation("x")
def view_as_real(x: Any) -> torch.Tensor:
    """Complex numbers as pairs (real, imaginary) along a new last axis."""
    return torch.view_as_real(convert_to_tensor(x).resolve_conj())
