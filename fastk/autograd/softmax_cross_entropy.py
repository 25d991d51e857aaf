"""Cross-entropy from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.autograd.library import Call, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.softmax_cross_entropy import aten


def softmax_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    sparse: bool,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    implementation: str = "auto",
) -> Tensor:
    """-sum of q log softmax(logits) over the classes, for each row.

    Args:
        logits: [..., C].
        labels: with `sparse` the index of the class, [...], of an integer dtype; else probabilities q [..., C].
        sparse: what the labels are.
        label_smoothing: s in [0, 1]: q becomes (1 - s) q + s / C (Szegedy et al. 2016).
        ignore_class: with `sparse` alone: rows with this label have loss 0 and no gradient.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        [...], the dtype of logits.

    Raises:
        ValueError: shapes that do not fit, or an argument outside its range.
        IndexError: on the CPU, a sparse label that is no class; on a GPU such a row's loss and gradient are NaN.

    >>> import torch
    >>> softmax_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), sparse=True)
    tensor([0.6931])
    """
    _check(logits, labels, sparse, label_smoothing, ignore_class)
    arguments = (logits, labels, sparse, label_smoothing, ignore_class)
    choice = choose("softmax_cross_entropy", implementation, logits, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    if torch.is_autocast_enabled(logits.device.type) and logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()  # as torch does
    return _loss(logits, labels, sparse, label_smoothing, ignore_class, choice.implementation)


def softmax_cross_entropy_with_gradient(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    sparse: bool,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The loss of each row and, from the same reading of the logits, the gradient of the rows' weighted sum.

    For steps that know what the losses are multiplied by before they know the losses; nothing here is differentiable.

    Args:
        logits, labels, sparse, label_smoothing, ignore_class: as of `softmax_cross_entropy`.
        weights: [...], by which each row's loss counts; 1 / rows for the mean.
        implementation: `"auto"`, `"triton"` or `"aten"`.

    Returns:
        The losses [...], without the weights, and the gradient [..., C], both of the dtype of logits.

    Raises:
        ValueError: shapes that do not fit, or an argument outside its range.

    >>> import torch
    >>> softmax_cross_entropy_with_gradient(torch.zeros(1, 2), torch.tensor([1]), torch.ones(1), sparse=True)
    (tensor([0.6931]), tensor([[ 0.5000, -0.5000]]))
    """
    _check(logits, labels, sparse, label_smoothing, ignore_class)
    if weights.shape != logits.shape[:-1]:
        raise ValueError(
            f"`weights` must have the shape of the losses, {tuple(logits.shape[:-1])}. Received: "
            f"{tuple(weights.shape)}."
        )
    arguments = (logits, labels, weights, sparse, label_smoothing, ignore_class)
    choice = choose("softmax_cross_entropy_with_gradient", implementation, logits, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    return _with_gradient(*arguments, choice.implementation)


def _check(logits: Tensor, labels: Tensor, sparse: bool, label_smoothing: float, ignore_class: int | None) -> None:
    expected = logits.shape[:-1] if sparse else logits.shape
    if logits.dim() < 1 or labels.shape != expected:
        raise ValueError(
            f"softmax_cross_entropy with sparse={sparse} and logits of shape {tuple(logits.shape)} expects labels of "
            f"shape {tuple(expected)}. Received shape {tuple(labels.shape)}."
        )
    if sparse and (labels.is_floating_point() or labels.is_complex()):
        raise ValueError(f"Sparse labels are indices of classes, of an integer dtype. Received: {labels.dtype}.")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"`label_smoothing` must be in [0, 1]. Received: {label_smoothing}.")
    if ignore_class is not None and not sparse:
        raise ValueError("`ignore_class` is the index of a class: it goes with sparse labels alone.")


def _gradients(call: Call, g: Tensor) -> list[Tensor | None]:
    logits, labels, *options, implementation = call.arguments
    needed = call.needed[:2]
    found = _backward(g, logits, labels, call.outputs[1], *options, needed, implementation)
    return [gradient if need else None for gradient, need in zip(found, needed, strict=True)]


def _forward_shapes(logits, labels, sparse, label_smoothing, ignore_class):
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rows = logits.numel() // logits.size(-1)
    return logits.new_empty(logits.shape[:-1]), logits.new_empty((2 if sparse else 3, rows), dtype=wide)


def _backward_shapes(g, logits, labels, statistics, sparse, label_smoothing, ignore_class, needed):
    return logits.new_empty(logits.shape), labels.new_empty(labels.shape if needed[1] else 0)


_forward = define(
    "softmax_cross_entropy_forward(Tensor logits, Tensor labels, bool sparse, float label_smoothing, int? ignore_class)"
    " -> (Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "softmax_cross_entropy_backward(Tensor g, Tensor logits, Tensor labels, Tensor statistics, bool sparse,"
    " float label_smoothing, int? ignore_class, bool[] needed) -> (Tensor, Tensor)",
    _backward_shapes,
)
_with_gradient = define(
    "softmax_cross_entropy_with_gradient(Tensor logits, Tensor labels, Tensor weights, bool sparse,"
    " float label_smoothing, int? ignore_class) -> (Tensor, Tensor)",
    lambda logits, *others: (logits.new_empty(logits.shape[:-1]), logits.new_empty(logits.shape)),
)
_loss = differentiate(_forward, _gradients, aten.softmax_cross_entropy)


contested("softmax_cross_entropy", "softmax_cross_entropy", softmax_cross_entropy)
contested("softmax_cross_entropy_with_gradient", "softmax_cross_entropy", softmax_cross_entropy_with_gradient)
