"""Metrics that are losses of maximum-margin classification."""

from __future__ import annotations

from typing import Any

from fastk import losses
from fastk.metrics.reduction import FunctionMetric


class Hinge(FunctionMetric):
    """The mean hinge loss; targets -1 and 1, or 0 and 1.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.Hinge()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).numpy().round(4))
    1.3
    """

    def __init__(self, name: str | None = "hinge", dtype: Any = None):
        super().__init__(losses.hinge, name, dtype)


class SquaredHinge(FunctionMetric):
    """The mean squared hinge loss; targets -1 and 1, or 0 and 1.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.SquaredHinge()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).numpy().round(4))
    1.86
    """

    def __init__(self, name: str | None = "squared_hinge", dtype: Any = None):
        super().__init__(losses.squared_hinge, name, dtype)


class CategoricalHinge(FunctionMetric):
    """The mean hinge loss of one-hot targets.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> print(fastk.metrics.CategoricalHinge()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).numpy().round(4))
    1.4
    """

    def __init__(self, name: str | None = "categorical_hinge", dtype: Any = None):
        super().__init__(losses.categorical_hinge, name, dtype)
