"""Penalties on weights, added to the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import normalize

from fastk import config
from fastk.tensor import convert_to_tensor


class Regularizer:
    """Base of the regularizers: a callable that gives the penalty of a weight, with a configuration.

    >>> from fastk import regularizers
    >>> class Sum(regularizers.Regularizer):
    ...     def __call__(self, x):
    ...         return x.sum()
    ...     def get_config(self):
    ...         return {}
    >>> isinstance(regularizers.get(Sum), Sum)
    True
    """

    def __call__(self, x: Any) -> Any:
        """The penalty of the weight `x`, a scalar."""
        return 0.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready."""
        raise NotImplementedError(f"{self} does not implement get_config(): write it to save a model that uses it.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A regularizer from `get_config`'s result."""
        return cls(**config)


class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x**2)`.

    Args:
        l1, l2: the non-negative factors; None is 0.

    >>> import torch
    >>> from fastk import regularizers
    >>> regularizers.L1L2(l1=1.0, l2=2.0)(torch.tensor([-1.0, 2.0]))
    tensor(13.)
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0):
        self.l1 = validate_float_arg(0.0 if l1 is None else l1, name="l1")
        self.l2 = validate_float_arg(0.0 if l2 is None else l2, name="l2")

    def __call__(self, x: Any) -> torch.Tensor:
        """The penalty of `x`."""
        x = convert_to_tensor(x)
        penalty = torch.zeros((), dtype=x.dtype, device=x.device)
        if self.l1:
            penalty = penalty + self.l1 * x.abs().sum()
        if self.l2:
            penalty = penalty + self.l2 * x.square().sum()
        return penalty

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """`l1 * sum(|x|)`.

    Args:
        l1: the non-negative factor; None is 0.01.

    >>> import torch
    >>> from fastk import regularizers
    >>> regularizers.L1(0.5)(torch.tensor([-1.0, 3.0]))
    tensor(2.)
    """

    def __init__(self, l1: float | None = 0.01):
        self.l1 = validate_float_arg(0.01 if l1 is None else l1, name="l1")

    def __call__(self, x: Any) -> torch.Tensor:
        """The penalty of `x`."""
        return self.l1 * convert_to_tensor(x).abs().sum()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l1": self.l1}


class L2(Regularizer):
    """`l2 * sum(x**2)`.

    Args:
        l2: the non-negative factor; None is 0.01.

    >>> import torch
    >>> from fastk import regularizers
    >>> regularizers.L2(0.5)(torch.tensor([-1.0, 3.0]))
    tensor(5.)
    """

    def __init__(self, l2: float | None = 0.01):
        self.l2 = validate_float_arg(0.01 if l2 is None else l2, name="l2")

    def __call__(self, x: Any) -> torch.Tensor:
        """The penalty of `x`."""
        return self.l2 * convert_to_tensor(x).square().sum()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean of |cosine| over the pairs of rows, or of columns, of a matrix.

    Args:
        factor: the non-negative factor.
        mode: `"rows"` or `"columns"`: which of them the penalty drives to be orthogonal.

    >>> import torch
    >>> from fastk import regularizers
    >>> regularizers.OrthogonalRegularizer(1.0)(torch.tensor([[3.0, 0.0], [0.0, 5.0]]))
    tensor(0.)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = validate_float_arg(factor, name="factor")
        if mode not in ("rows", "columns"):
            raise ValueError(
                f'Invalid value for argument `mode`. Expected one of {{"rows", "columns"}}. Received: mode={mode}'
            )
        self.mode = mode

    def __call__(self, inputs: Any) -> torch.Tensor:
        """The penalty of the matrix `inputs`."""
        if len(inputs.shape) != 2:
            raise ValueError(
                f"Inputs to OrthogonalRegularizer must have rank 2. Received: inputs.shape={tuple(inputs.shape)}"
            )
        x = convert_to_tensor(inputs)
        vectors = normalize(x if self.mode == "rows" else x.T, dim=1, eps=config.epsilon())
        pairs = len(vectors) * (len(vectors) - 1) / 2
        # Above the diagonal each pair stands once; a single vector has none, and no penalty.
        return self.factor * (vectors @ vectors.T).triu(1).abs().sum() / max(pairs, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"factor": self.factor, "mode": self.mode}


def validate_float_arg(value: Any, name: str) -> float:
    """`value` as a float; `ValueError` unless it is a finite number that is not negative."""
    if not isinstance(value, (float, int)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"Invalid value for argument {name}: expected a non-negative float. Received: {name}={value}")
    return float(value)
