"""`Initializer`: what gives a weight its first value."""

from __future__ import annotations

from typing import Any

import torch


class Initializer:
    """Base of the initializers: a callable of a shape and a dtype, with a configuration.

    A subclass writes `__call__`, and `get_config` where its constructor takes arguments.

    >>> import torch
    >>> from fastk import initializers
    >>> class Halves(initializers.Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         return torch.full(shape, 0.5)
    >>> Halves().clone()((2,))
    tensor([0.5000, 0.5000])
    """

    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """A tensor of the given shape and dtype (None: `floatx()`) on the current device."""
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__(self, shape, dtype=None)`.")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An initializer from `get_config`'s result."""
        return cls(**config)

    def clone(self) -> Any:
        """A new initializer with the same configuration; one without a seed draws a seed of its own."""
        return type(self).from_config(self.get_config())
