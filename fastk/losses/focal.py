"""Cross-entropies that weigh entries by how well they are predicted: focal (Lin et al. 2017), generalized."""

from __future__ import annotations

from typing import Any

import torch

from fastk.losses.arrays import floating, like_predictions
from fastk.losses.crossentropy import binary_values, check_classes, clipped, smoothed
from fastk.losses.loss import FunctionLoss, keeps_target_dtype
from fastk.tensor import convert_to_tensor, to_boundary


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> torch.Tensor:
    """The binary cross-entropy times `(1 - p_t)**gamma`, p_t being the probability of the truth; mean over `axis`.

    Args:
        apply_class_balancing: whether ones weigh `alpha` and zeros `1 - alpha`.
        alpha: the weight of the class 1.
        gamma: the exponent; 0 gives the plain cross-entropy.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: the share of each target that is moved towards 0.5.
        axis: the axis that the mean is over.

    >>> import fastk
    >>> print(fastk.losses.binary_focal_crossentropy([[0, 1]], [[0.5, 0.5]]))
    [0.1732868]
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    y_true = smoothed(y_true, label_smoothing, classes=2)
    if from_logits:
        y_pred = y_pred.sigmoid()
    missing = 1.0 - (y_true * y_pred + (1.0 - y_true) * (1.0 - y_pred))
    values = missing.pow(gamma) * binary_values(y_true, y_pred, from_logits=False)
    if apply_class_balancing:
        values = values * (y_true * alpha + (1.0 - y_true) * (1.0 - alpha))
    return to_boundary(values.mean(axis))


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> torch.Tensor:
    """The categorical cross-entropy, each class's term times `alpha * (1 - p)**gamma`.

    Args:
        y_true: one-hot or soft targets, of the shape of `y_pred`.
        y_pred: `(..., classes)`.
        alpha: a weight, or one for each class.
        gamma: the exponent.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: the share of each target that is spread evenly over the classes.
        axis: the classes' axis.

    >>> import fastk
    >>> print(fastk.losses.categorical_focal_crossentropy([[0, 1, 0]], [[0.25, 0.5, 0.25]]))
    [0.0433217]
    """
    y_true, y_pred = like_predictions(y_true, y_pred)
    check_classes("categorical_focal_crossentropy", y_true, y_pred, axis)
    y_true = smoothed(y_true, label_smoothing, y_true.shape[axis])
    if from_logits:
        y_pred = y_pred.softmax(axis)
    probabilities = clipped(y_pred / y_pred.sum(axis, keepdim=True))
    weights = alpha if isinstance(alpha, (int, float)) else convert_to_tensor(alpha, dtype=y_pred.dtype)
    values = (1.0 - probabilities).pow(gamma) * weights * (-y_true * probabilities.log())
    return to_boundary(values.sum(axis))


@keeps_target_dtype
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> torch.Tensor:
    """`(1 - p**q) / q`, p being the probability of the label: robust to wrong labels (Zhang and Sabuncu 2018).

    Args:
        y_true: class numbers, `(batch,)`.
        y_pred: probabilities, `(batch, classes)`.
        q: between 0 (cross-entropy) and 1 (absolute error).

    >>> import fastk
    >>> print(fastk.losses.categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5))
    [1.]
    """
    y_pred = floating(y_pred)
    labels = convert_to_tensor(y_true, dtype=torch.int64).unsqueeze(-1)
    classes = torch.arange(y_pred.shape[-1], device=y_pred.device)
    probability = (y_pred * (labels == classes)).sum(-1)
    return to_boundary((1.0 - probability.pow(q)) / q)


class BinaryFocalCrossentropy(FunctionLoss):
    """The binary cross-entropy with little weight on what is predicted well (Lin et al. 2017).

    Args:
        apply_class_balancing: whether ones weigh `alpha` and zeros `1 - alpha`.
        alpha: the weight of the class 1.
        gamma: the exponent of `1 - p_t`.
        from_logits: whether predictions are logits.
        label_smoothing: the share of each target that is moved towards 0.5.
        axis: the axis that the first mean is over.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.BinaryFocalCrossentropy(gamma=2)([[0, 1]], [[0.5, 0.5]]).numpy():.4f}")
    0.1733
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            binary_focal_crossentropy,
            reduction,
            name,
            dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalFocalCrossentropy(FunctionLoss):
    """The categorical cross-entropy with little weight on what is predicted well (Lin et al. 2017).

    Args:
        alpha: a weight, or one for each class.
        gamma: the exponent of `1 - p`.
        from_logits: whether predictions are logits.
        label_smoothing: the share of each target that is spread evenly over the classes.
        axis: the classes' axis.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(f"{fastk.losses.CategoricalFocalCrossentropy()([[0, 1]], [[0.5, 0.5]]).numpy():.4f}")
    0.0433
    """

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalGeneralizedCrossEntropy(FunctionLoss):
    """Between cross-entropy and absolute error, robust to wrong labels (Zhang and Sabuncu 2018).

    Args:
        q: between 0 (cross-entropy) and 1 (absolute error), both excluded.
        reduction, name, dtype: as in `Loss`.

    >>> import fastk
    >>> print(fastk.losses.CategoricalGeneralizedCrossEntropy(q=0.5)([1], [[0.75, 0.25]]))
    1.0
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ):
        if not 0 < q < 1:
            raise ValueError(f"q must be in the interval (0, 1). Received: q={q}")
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
