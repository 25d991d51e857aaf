"""Cross-entropy: binary, categorical (one-hot or soft targets) and sparse (class numbers).

The equations, with p the predicted and t the true distribution over C classes:

    categorical   H = -sum_c t_c log p_c
    sparse        H = -log p_label
    binary        H = -t log p - (1 - t) log(1 - p)

From logits, p is the softmax (binary: the sigmoid), and H is computed without p. Probabilities are first divided by
their sum (not in the binary case) and clipped to [epsilon(), 1 - epsilon()].
"""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import torch
from torch.nn import functional

from fastk import config
from fastk.autograd import softmax_cross_entropy
from fastk.losses.arrays import floating, like_predictions
from fastk.losses.loss import FunctionLoss, average_of, keeps_target_dtype
from fastk.tensor import convert_to_tensor, set_keras_mask, to_boundary

# torch leaves out labels equal to `ignore_index`, -100 by default: here no label is left out unasked.
NO_CLASS = -(2**63)
# Up to here all probabilities of a row get their logarithm, which takes fewer operations than picking the label's
# first (measured on one core: 13 against 20 us for 32 rows of 10, 182 against 27 us for 128 rows of 1000).
FEW_CLASSES = 64


def clipped(probabilities: torch.Tensor) -> torch.Tensor:
    """`probabilities` within [epsilon(), 1 - epsilon()]: their logarithms are finite."""
    epsilon = config.epsilon()
    return probabilities.clamp(epsilon, 1.0 - epsilon)


def smoothed(y_true: torch.Tensor, label_smoothing: float, classes: int) -> torch.Tensor:
    """`y_true` with the share `label_smoothing` spread evenly over the classes (Szegedy et al. 2016)."""
    return y_true * (1.0 - label_smoothing) + label_smoothing / classes if label_smoothing else y_true


def check_classes(function: str, y_true: torch.Tensor, y_pred: torch.Tensor, axis: int) -> None:
    """Raises unless `y_true` is a distribution over the classes of `y_pred` along `axis`."""
    if isinstance(axis, bool):
        raise ValueError(f"`axis` must be of type `int`. Received: axis={axis} of type {type(axis)}")
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            f"In `{function}`, `y_true` and `y_pred` must have the same shape, with a class axis. Received: "
            f"y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}. "
            "For class numbers in place of one-hot rows, use `sparse_categorical_crossentropy`."
        )
    if y_pred.shape[-1] == 1:
        warnings.warn(
            f"In loss {function}, expected y_pred.shape to be (batch_size, num_classes) with num_classes > 1. "
            f"Received: y_pred.shape={tuple(y_pred.shape)}. Consider using 'binary_crossentropy' if you only have 2 "
            "classes.",
            SyntaxWarning,
            stacklevel=4,
        )


def of_softmax(y_pred: Any, from_logits: bool, axis: int) -> tuple[Any, bool]:
    """The logits, and True, where `y_pred` is what `activations.softmax` made of some; else what was given.

    From logits the loss is exact for any probability, and a softmax and its loss cost half of what they cost apart
    (measured at 32x10, forward and backward: 60 against 147 us).
    """
    logits = None if from_logits else getattr(y_pred, "_keras_logits", None)
    if logits is None or axis not in (-1, logits.ndim - 1):
        return y_pred, from_logits
    return logits, True


def class_rows(x: torch.Tensor, axis: int) -> torch.Tensor:
    """`x` as a matrix whose last axis is the classes'."""
    if axis not in (-1, x.ndim - 1):
        x = x.movedim(axis, -1)
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


# ---------------------------------------------------------------- binary


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor:
    """The binary cross-entropy, its mean over `axis`.

    Args:
        y_true: targets in [0, 1], of the shape of `y_pred`.
        y_pred: probabilities, or logits.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: the share of each target that is moved towards 0.5.
        axis: the axis that the mean is over.

    >>> import fastk
    >>> print(fastk.losses.binary_crossentropy([[0, 1]], [[0.5, 0.5]]))
    [0.6931472]
    """
    y_true, y_pred = _binary_inputs(y_true, y_pred, label_smoothing)
    return to_boundary(binary_values(y_true, y_pred, from_logits).mean(axis))


def _binary_inputs(y_true: Any, y_pred: Any, label_smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    y_true, y_pred = like_predictions(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "In a binary cross-entropy, `y_true` and `y_pred` must have the same shape. "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
        )
    return smoothed(y_true, label_smoothing, classes=2), y_pred


def binary_values(y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool) -> torch.Tensor:
    """The binary cross-entropy of each entry."""
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    return functional.binary_cross_entropy(clipped(y_pred), y_true, reduction="none")


@average_of(binary_crossentropy)
def _binary_average(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor | None:
    y_true, y_pred = _binary_inputs(y_true, y_pred, label_smoothing)
    if not y_pred.numel():
        return None
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true)
    return functional.binary_cross_entropy(clipped(y_pred), y_true)


# ---------------------------------------------------------------- categorical


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor:
    """The cross-entropy of distributions over classes.

    Args:
        y_true: one-hot or soft targets, of the shape of `y_pred`.
        y_pred: `(..., classes)`: probabilities (they are divided by their sum), or logits.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: the share of each target that is spread evenly over the classes.
        axis: the classes' axis.

    >>> import fastk
    >>> print(fastk.losses.categorical_crossentropy([[0, 1, 0]], [[0.25, 0.5, 0.25]]))
    [0.6931472]
    """
    y_pred, from_logits = of_softmax(y_pred, from_logits, axis)
    y_true, y_pred = like_predictions(y_true, y_pred)
    check_classes("categorical_crossentropy", y_true, y_pred, axis)
    if from_logits:
        logits, y_true = y_pred.movedim(axis, -1), y_true.movedim(axis, -1)
        return to_boundary(softmax_cross_entropy(logits, y_true, sparse=False, label_smoothing=label_smoothing))
    return to_boundary(-_soft_terms(y_true, y_pred, label_smoothing, axis).sum(axis))


def _soft_terms(y_true: torch.Tensor, y_pred: torch.Tensor, label_smoothing: float, axis: int) -> torch.Tensor:
    """`t_c log p_c`, from probabilities."""
    y_true = smoothed(y_true, label_smoothing, y_true.shape[axis])
    return torch.xlogy(y_true, clipped(y_pred / y_pred.sum(axis, keepdim=True)))


@average_of(categorical_crossentropy)
def _categorical_average(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor | None:
    y_pred, from_logits = of_softmax(y_pred, from_logits, axis)
    if not y_pred.numel() or (from_logits and not _fused_mean_is_best(y_pred)):
        return None
    check_classes("categorical_crossentropy", y_true, y_pred, axis)
    if from_logits:
        y_true, y_pred = class_rows(y_true, axis), class_rows(y_pred, axis)
        return functional.cross_entropy(y_pred, y_true, label_smoothing=label_smoothing)
    return _soft_terms(y_true, y_pred, label_smoothing, axis).sum() * (-y_pred.shape[axis] / y_pred.numel())


def _fused_mean_is_best(logits: torch.Tensor) -> bool:
    """Whether torch's mean of cross-entropies is used rather than the mean of `softmax_cross_entropy`'s rows.

    On the CPU that saves an operation each way (measured at 32x10: 9 against 15 us forward).
    """
    return logits.is_cpu and config.kernels() in ("auto", "aten")


# ---------------------------------------------------------------- sparse


@keeps_target_dtype
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> torch.Tensor:
    """The cross-entropy where targets are class numbers.

    Args:
        y_true: class numbers from 0, of `y_pred`'s shape without `axis`, or with size 1 there.
        y_pred: `(..., classes)`: probabilities (they are divided by their sum), or logits.
        from_logits: whether `y_pred` holds logits.
        ignore_class: a number whose entries have loss 0 and do not count in means.
        axis: the classes' axis.

    Raises:
        ValueError: for shapes that do not go together, and, on the CPU, for a label that is no class. On a GPU
            such a label stops the kernel with a device-side assertion, because looking would stall every step.

    >>> import fastk
    >>> print(fastk.losses.sparse_categorical_crossentropy([1], [[0.25, 0.5, 0.25]]))
    [0.6931472]
    """
    y_pred, from_logits = of_softmax(y_pred, from_logits, axis)
    labels, rows, shape = _sparse_inputs(y_true, y_pred, axis)
    values = _label_losses(labels, rows, from_logits, "none", ignore_class)
    values = values if values.shape == shape else values.reshape(shape)
    if ignore_class is not None:
        set_keras_mask(values, (labels != ignore_class).reshape(shape))
    return to_boundary(values)


def _sparse_inputs(y_true: Any, y_pred: Any, axis: int) -> tuple[torch.Tensor, torch.Tensor, torch.Size]:
    """Labels `(n,)`, predictions `(n, classes)`, and the shape of the losses."""
    y_pred = floating(y_pred)
    labels = convert_to_tensor(y_true, dtype=torch.int64)
    if labels.ndim == y_pred.ndim and labels.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if y_pred.ndim == 2 and axis in (-1, 1):
        rows = y_pred
        matches = labels.ndim == 1 and labels.shape[0] == rows.shape[0]
    else:
        matches = y_pred.ndim > 0 and labels.shape == y_pred.movedim(axis, -1).shape[:-1]
        rows = class_rows(y_pred, axis) if matches else y_pred
    if not matches:
        raise ValueError(
            "`sparse_categorical_crossentropy` takes class numbers in `y_true`, which must have the same shape as "
            f"`y_pred` without axis {axis}. Received: y_true.shape={tuple(labels.shape)}, "
            f"y_pred.shape={tuple(y_pred.shape)}. For one-hot rows in `y_true`, use `categorical_crossentropy`."
        )
    return labels.reshape(-1) if labels.ndim != 1 else labels, rows, labels.shape


def _label_losses(
    labels: torch.Tensor, rows: torch.Tensor, from_logits: bool, reduction: str, ignore_class: int | None
) -> torch.Tensor:
    """The cross-entropy of each row, or their mean; an ignored label's is 0."""
    ignored = NO_CLASS if ignore_class is None else ignore_class
    try:
        if from_logits and reduction == "mean":
            return functional.cross_entropy(rows, labels, ignore_index=ignored)
        if from_logits:
            return softmax_cross_entropy(rows, labels, sparse=True, ignore_class=ignore_class)
        if ignore_class is not None:
            # A row that does not count may hold anything: zeros, whose shares are NaN, or NaN itself.
            rows = rows.masked_fill((labels == ignore_class).unsqueeze(1), 1.0)
        if rows.shape[1] <= FEW_CLASSES:
            logarithms = clipped(rows / rows.sum(1, keepdim=True)).log()
            return functional.nll_loss(logarithms, labels, reduction=reduction, ignore_index=ignored)
        # nll_loss only picks here: minus each label's probability.
        picked = functional.nll_loss(rows, labels, reduction="none", ignore_index=ignored)
    except IndexError as error:
        _raise_for_labels(labels, rows.shape[1], ignore_class, error)
    values = clipped(-picked / rows.sum(1)).log().neg()
    if ignore_class is not None:
        values = values.masked_fill(labels == ignore_class, 0.0)
    return values if reduction == "none" else values.mean()


def _raise_for_labels(labels: torch.Tensor, classes: int, ignore_class: int | None, error: IndexError) -> NoReturn:
    """Says which label is out of range, where torch's index error came from one; else raises that again."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    wrong = wrong if ignore_class is None else wrong[wrong != ignore_class]
    if not wrong.numel():
        raise error
    label = int(wrong[0])
    hint = (
        "Labels counted from 1 must be lowered by 1."
        if label == classes
        else "To leave a class out, pass it as `ignore_class`."
        if label < 0
        else "The last layer needs a unit for each class."
    )
    raise ValueError(
        f"A label is {label}, but `y_pred` has {classes} classes: labels must be from 0 to {classes - 1}. {hint}"
    ) from error


@average_of(sparse_categorical_crossentropy)
def _sparse_average(
    y_true: torch.Tensor,
    y_pred: torch.Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> torch.Tensor | None:
    y_pred, from_logits = of_softmax(y_pred, from_logits, axis)
    if ignore_class is not None or not y_pred.numel() or (from_logits and not _fused_mean_is_best(y_pred)):
        return None
    labels, rows, _ = _sparse_inputs(y_true, y_pred, axis)
    return _label_losses(labels, rows, from_logits, "mean", None)


# ---------------------------------------------------------------- classes


class BinaryCrossentropy(FunctionLoss):
    """The binary cross-entropy.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        label_smoothing: the share of each target that is moved towards 0.5.
        axis: the axis that the first mean is over.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> loss = fastk.losses.BinaryCrossentropy(from_logits=True)
    >>> print(f"{loss([0, 1], [0.0, 0.0]).numpy():.4f}")
    0.6931
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(FunctionLoss):
    """The cross-entropy of distributions over classes, such as one-hot targets.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        label_smoothing: the share of each target that is spread evenly over the classes.
        axis: the classes' axis.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> loss = fastk.losses.CategoricalCrossentropy()
    >>> print(f"{loss([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).numpy():.3f}")
    1.177
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(FunctionLoss):
    """The cross-entropy where targets are class numbers.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        ignore_class: a number whose entries do not count.
        axis: the classes' axis.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> loss = fastk.losses.SparseCategoricalCrossentropy()
    >>> print(f"{loss([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).numpy():.3f}")
    1.177
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            optional={"axis": -1},
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
