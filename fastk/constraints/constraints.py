"""Projections of weights, applied after each step of the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastk import config
from fastk.tensor import convert_to_tensor

Axis = int | Sequence[int] | None


class Constraint:
    """Base of the constraints: a callable that gives the nearest allowed weight, with a configuration.

    >>> from fastk import constraints
    >>> class Capped(constraints.Constraint):
    ...     def __call__(self, w):
    ...         return w.clamp(max=1.0)
    >>> isinstance(constraints.get(Capped), Capped)
    True
    """

    def __call__(self, w: Any) -> Any:
        """The constrained weight, of the shape of `w`."""
        return w

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A constraint from `get_config`'s result."""
        return cls(**config)


class NonNeg(Constraint):
    """Negative values become 0.

    >>> from fastk import constraints
    >>> constraints.NonNeg()([-1.0, 2.0])
    tensor([0., 2.])
    """

    def __call__(self, w: Any) -> torch.Tensor:
        """`max(w, 0)`."""
        return convert_to_tensor(w).clamp(min=0)


class MinMaxNorm(Constraint):
    """The norm of each vector along `axis` is brought to lie between two bounds.

    Args:
        min_value, max_value: the bounds of the L2 norm.
        rate: how far at each step: 1 enforces the bounds, less moves the norm towards them.
        axis: the axis or axes of the vectors; 0 for the input weights of each unit of a Dense layer, (0, 1, 2) for
            those of each filter of a Conv2D layer.

    >>> from fastk import constraints
    >>> constraints.MinMaxNorm(max_value=1.0)([[3.0], [4.0]])
    tensor([[0.6000],
            [0.8000]])
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> torch.Tensor:
        """`w`, rescaled."""
        w = convert_to_tensor(w)
        norms = _norms(w, self.axis)
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (config.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


class MaxNorm(Constraint):
    """The norm of each vector along `axis` is at most `max_value`.

    Args:
        max_value: the greatest L2 norm.
        axis: the axis or axes of the vectors, as in `MinMaxNorm`.

    Source: Srivastava et al., 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    >>> from fastk import constraints
    >>> constraints.MaxNorm(1.0)([[3.0], [4.0]])
    tensor([[0.6000],
            [0.8000]])
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> torch.Tensor:
        """`w`, rescaled where it is too long."""
        w = convert_to_tensor(w)
        norms = _norms(w, self.axis)
        return w * (norms.clamp(0, self.max_value) / (config.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(Constraint):
    """The norm of each vector along `axis` is 1.

    Args:
        axis: the axis or axes of the vectors, as in `MinMaxNorm`.

    >>> from fastk import constraints
    >>> constraints.UnitNorm()([[3.0], [4.0]])
    tensor([[0.6000],
            [0.8000]])
    """

    def __init__(self, axis: Axis = 0):
        self.axis = axis

    def __call__(self, w: Any) -> torch.Tensor:
        """`w` over its norm."""
        w = convert_to_tensor(w)
        return w / (config.epsilon() + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"axis": self.axis}


def _norms(w: torch.Tensor, axis: Axis) -> torch.Tensor:
    """The L2 norms along `axis`, which stays as an axis of size 1."""
    return torch.linalg.vector_norm(w, dim=axis if axis is None or isinstance(axis, int) else tuple(axis), keepdim=True)
