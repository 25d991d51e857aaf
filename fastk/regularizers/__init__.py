"""Penalties on weights by name (`keras.regularizers`)."""

from typing import Any

from fastk.regularizers.regularizers import L1, L1L2, L2, OrthogonalRegularizer, Regularizer
from fastk.serialization import Registry

l1, l2, l1_l2 = L1, L2, L1L2
orthogonal_regularizer = OrthogonalRegularizer

_registry = Registry("regularizer", classes=(Regularizer, L1, L2, L1L2, OrthogonalRegularizer), aliases={"l1_l2": L1L2})
get, deserialize = _registry.get, _registry.deserialize


def serialize(regularizer: Regularizer) -> Any:
    """The configuration of a regularizer."""
    return _registry.serialize(regularizer)


__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]
