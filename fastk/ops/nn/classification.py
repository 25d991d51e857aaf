"""Class labels as vectors, and the cross-entropies."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config, dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import canonical_axis, floatx
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of, unified
from fastk.tensor import convert_to_tensor

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "multi_hot",
    "one_hot",
    "sparse_categorical_crossentropy",
]


def _check_dense(sparse: bool) -> None:
    if sparse:
        raise ValueError("Sparse tensors are not supported: pass sparse=False.")


def _hot_axis(axis: int, rank: int) -> int:
    if axis != -1 and not 0 <= axis < rank:
        raise ValueError(f"axis must be -1 or between [0, {rank}), but received {axis}.")
    return rank if axis == -1 else axis


def _one_hot_spec(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> KerasTensor:
    _check_dense(sparse)
    shape = list(shape_of(x))
    shape.insert(_hot_axis(axis, len(shape)), num_classes)
    return KerasTensor(shape, dtype=dtypes.standardize_dtype(dtype))


@operation("x", spec=_one_hot_spec)
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> torch.Tensor:
    """1 at the place of each label along a new axis, 0 elsewhere; a label below 0 or above the classes is all 0.

    Args:
        x: integers.
        num_classes: the size of the new axis.
        axis: where it stands in the result.
        dtype: of the result; `floatx()` by default.
        sparse: not supported; must be False.

    >>> from fastk import ops
    >>> ops.one_hot([0, 2], 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    _check_dense(sparse)
    x = convert_to_tensor(x)
    position = axis if axis == x.ndim else _hot_axis(axis, x.ndim)
    classes = torch.arange(num_classes, dtype=x.dtype if _holds(x.dtype, num_classes) else torch.int64, device=x.device)
    hot = x.unsqueeze(position) == classes.reshape(-1, *[1] * (x.ndim - position))
    return hot.to(floatx() if dtype is None else dtypes.to_torch_dtype(dtype))


def _holds(dtype: torch.dtype, count: int) -> bool:
    """Whether `dtype` has all of the numbers below `count`."""
    return not dtype.is_floating_point and dtype is not torch.bool and torch.iinfo(dtype).max >= count - 1


def _multi_hot_spec(
    inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> KerasTensor:
    hot = _one_hot_spec(inputs, _classes(num_classes), axis, dtype, sparse)
    reduced = 1 if len(inputs.shape) > 1 else 0
    return KerasTensor(hot.shape[:reduced] + hot.shape[reduced + 1 :], dtype=hot.dtype)


def _classes(num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError("Argument `num_classes` must be specified.")
    return num_classes


@operation("inputs", spec=_multi_hot_spec)
def multi_hot(
    inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> torch.Tensor:
    """1 at the place of each of several labels, 0 elsewhere.

    Args:
        inputs: integers, (labels,) or (batch, labels, ...).
        num_classes: the size of the new axis.
        axis, dtype, sparse: as in `one_hot`.

    >>> from fastk import ops
    >>> ops.multi_hot([0, 2], 4)
    tensor([1., 0., 1., 0.])
    """
    inputs = convert_to_tensor(inputs)
    hot = one_hot(inputs.to(torch.int32), _classes(num_classes), axis=axis, dtype=dtype, sparse=sparse)
    return torch.amax(hot, dim=1 if inputs.ndim > 1 else 0)


# ---------------------------------------------------------------- cross-entropies


def _clipped(probabilities: torch.Tensor) -> torch.Tensor:
    epsilon = config.epsilon()
    return torch.clamp(probabilities, epsilon, 1.0 - epsilon)


def _check_same_shape(target: Any, output: Any, least_rank: int = 0) -> None:
    first, second = shape_of(target), shape_of(output)
    known = unified(first, second)
    if known[0] != known[1]:
        raise ValueError(
            f"Arguments `target` and `output` must have the same shape. Received: target.shape={first}, "
            f"output.shape={second}"
        )
    if len(first) < least_rank:
        raise ValueError(
            f"Arguments `target` and `output` must be at least rank {least_rank}. "
            f"Received: target.shape={first}, output.shape={second}"
        )


def _binary_spec(target: Any, output: Any, from_logits: bool = False) -> KerasTensor:
    _check_same_shape(target, output)
    return KerasTensor(unified(shape_of(output), shape_of(target))[0], dtype=output.dtype)


@operation("target output", spec=_binary_spec)
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> torch.Tensor:
    """The cross-entropy of each yes-or-no prediction.

    Args:
        target: 0 or 1, or probabilities.
        output: of the same shape: probabilities, clipped to [epsilon, 1 - epsilon], or logits.
        from_logits: whether `output` holds logits.

    >>> from fastk import ops
    >>> ops.binary_crossentropy([0.0, 1.0], [0.0, 0.0], from_logits=True)
    tensor([0.6931, 0.6931])
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    _check_same_shape(target, output)
    target = target.to(output.dtype)
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")
    output = _clipped(output)
    return -(target * torch.log(output) + (1.0 - target) * torch.log(1.0 - output))


def _categorical_spec(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> KerasTensor:
    _check_same_shape(target, output, least_rank=1)
    shape = list(unified(shape_of(output), shape_of(target))[0])
    del shape[axis]
    return KerasTensor(shape, dtype=output.dtype)


def _log_probabilities(output: torch.Tensor, from_logits: bool, axis: int) -> torch.Tensor:
    if from_logits:
        return torch.log_softmax(output, dim=axis)
    return torch.log(_clipped(output / torch.sum(output, dim=axis, keepdim=True)))


@operation("target output", spec=_categorical_spec)
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> torch.Tensor:
    """The cross-entropy of each prediction of one of several classes.

    Args:
        target: the classes' probabilities, often one-hot.
        output: of the same shape: probabilities, which are scaled to a sum of 1 and clipped, or logits.
        from_logits: whether `output` holds logits.
        axis: the axis of the classes.

    >>> from fastk import ops
    >>> ops.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    tensor([0.6931])
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    _check_same_shape(target, output, least_rank=1)
    return -torch.sum(target * _log_probabilities(output, from_logits, axis), dim=axis)


def _check_labels(target: tuple, output: tuple, axis: int) -> None:
    expected = list(output)
    del expected[axis]
    if any(a != b for a, b in zip(target, expected, strict=False) if None not in (a, b)) or len(target) != len(
        expected
    ):
        raise ValueError(
            "Arguments `target` and `output` must have the same shape up until the last dimension: "
            f"target.shape={target}, output.shape={output}"
        )


def _labels_shape(target: Any, output: Any, axis: int) -> tuple:
    shape, full = shape_of(target), shape_of(output)
    if len(full) < 1:
        raise ValueError(f"Argument `output` must be at least rank 1. Received: output.shape={full}")
    axis = canonical_axis(axis, len(full))
    if len(shape) == len(full) and shape[axis] == 1:
        shape = shape[:axis] + shape[axis + 1 :]
    _check_labels(shape, full, axis)
    return shape


def _sparse_spec(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> KerasTensor:
    _labels_shape(target, output, axis)
    shape = list(output.shape)
    del shape[axis]
    return KerasTensor(shape, dtype=output.dtype)


@operation("target output", spec=_sparse_spec)
def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> torch.Tensor:
    """`categorical_crossentropy` with the classes given as integers.

    Args:
        target: integers, of the shape of `output` without the classes, or with 1 in their place.
        output: probabilities, which are scaled to a sum of 1 and clipped, or logits.
        from_logits: whether `output` holds logits.
        axis: the axis of the classes.

    >>> from fastk import ops
    >>> ops.sparse_categorical_crossentropy([1], [[0.5, 0.5]])
    tensor([0.6931])
    """
    target, output = convert_to_tensor(target, dtype="int64"), convert_to_tensor(output)
    target = target.reshape(_labels_shape(target, output, axis))
    log_probabilities = torch.movedim(_log_probabilities(output, from_logits, axis), axis, -1)
    flat = F.nll_loss(log_probabilities.reshape(-1, log_probabilities.shape[-1]), target.reshape(-1), reduction="none")
    return flat.reshape(target.shape)
