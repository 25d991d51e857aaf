"""Metrics that are losses of predicted probabilities."""

from __future__ import annotations

from typing import Any

from fastk import losses
from fastk.metrics.reduction import FunctionMetric


class KLDivergence(FunctionMetric):
    """The mean Kullback-Leibler divergence of the predicted from the true distribution.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.KLDivergence()([[1.0, 0.0]], [[0.5, 0.5]]).numpy().round(4))
    0.6931
    """

    def __init__(self, name: str | None = "kl_divergence", dtype: Any = None):
        super().__init__(losses.kl_divergence, name, dtype)


class Poisson(FunctionMetric):
    """The mean of minus the log-likelihood of counts under predicted Poisson rates.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.Poisson()([[0, 1], [0, 0]], [[1, 1], [0, 0]]).numpy().round(4))
    0.5
    """

    def __init__(self, name: str | None = "poisson", dtype: Any = None):
        super().__init__(losses.poisson, name, dtype)


class BinaryCrossentropy(FunctionMetric):
    """The mean binary cross-entropy.

    Args:
        name, dtype: as in `Metric`.
        from_logits: whether predictions are logits rather than probabilities.
        label_smoothing: the share of each target that is moved towards 0.5.

    >>> import fastk
    >>> print(fastk.metrics.BinaryCrossentropy()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).numpy().round(4))
    0.8149
    """

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ):
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(FunctionMetric):
    """The mean cross-entropy of distributions over classes, such as one-hot targets.

    Args:
        name, dtype: as in `Metric`.
        from_logits: whether predictions are logits rather than probabilities.
        label_smoothing: the share of each target that is spread evenly over the classes.
        axis: the classes' axis.

    >>> import fastk
    >>> metric = fastk.metrics.CategoricalCrossentropy()
    >>> print(metric([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).numpy().round(4))
    1.1769
    """

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ):
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(FunctionMetric):
    """The mean cross-entropy where targets are class numbers.

    Args:
        name, dtype: as in `Metric`.
        from_logits: whether predictions are logits rather than probabilities.
        ignore_class: a number whose entries count as 0.
        axis: the classes' axis.

    >>> import fastk
    >>> metric = fastk.metrics.SparseCategoricalCrossentropy()
    >>> print(metric([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).numpy().round(4))
    1.1769
    """

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        super().__init__(
            losses.sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
