"""Projections of weights by name (`keras.constraints`)."""

from typing import Any

from fastk.constraints.constraints import Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from fastk.serialization import Registry

max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_registry = Registry("constraint", classes=(Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm))
get, deserialize = _registry.get, _registry.deserialize


def serialize(constraint: Constraint) -> Any:
    """The configuration of a constraint."""
    return _registry.serialize(constraint)


__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]
