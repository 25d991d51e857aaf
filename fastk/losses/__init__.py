"""Losses: what training makes small. Each is a function (one loss an entry) and a class (weighted and reduced).

>>> import fastk
>>> loss = fastk.losses.get("mse")
>>> loss.__name__
'mean_squared_error'
"""

from __future__ import annotations

from typing import Any

from fastk.errors import missing_name
from fastk.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from fastk.losses.focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
)
from fastk.losses.loss import Loss, LossFunctionWrapper
from fastk.losses.margin import CategoricalHinge, Hinge, SquaredHinge, categorical_hinge, hinge, squared_hinge
from fastk.losses.probabilistic import KLDivergence, Poisson, kl_divergence, poisson
from fastk.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from fastk.losses.segmentation import Dice, Tversky, dice, tversky
from fastk.losses.sequence import CTC, ctc
from fastk.losses.similarity import Circle, circle
from fastk.serialization import Registry

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_OBJECTS = [globals()[name] for name in __all__ if name not in ("deserialize", "get", "serialize")]
FUNCTIONS = tuple(found for found in _OBJECTS if not isinstance(found, type))
_SHORT = {
    "bce": binary_crossentropy,
    "kld": kl_divergence,
    "mae": mean_absolute_error,
    "mape": mean_absolute_percentage_error,
    "mse": mean_squared_error,
    "msle": mean_squared_logarithmic_error,
}
_REGISTRY = Registry(
    "loss",
    classes=[found for found in _OBJECTS if isinstance(found, type)],
    functions=FUNCTIONS,
    aliases=_SHORT | {name.upper(): function for name, function in _SHORT.items()},
)


def get(identifier: Any) -> Any:
    """The loss that a name, a configuration, a function or a `Loss` means; None stays None.

    >>> import fastk
    >>> fastk.losses.get("SparseCategoricalCrossentropy").name
    'sparse_categorical_crossentropy'
    """
    return _REGISTRY.get(identifier)


def serialize(loss: Any) -> Any:
    """The configuration of a loss.

    >>> import fastk
    >>> fastk.losses.serialize(fastk.losses.Hinge())["config"]
    {'name': 'hinge', 'reduction': 'sum_over_batch_size'}
    """
    return _REGISTRY.serialize(loss)


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` described.

    Args:
        name: the configuration, or a name.
        custom_objects: names that it may use, and what they mean.
    """
    return _REGISTRY.deserialize(name, custom_objects)


def __getattr__(name: str) -> Any:
    raise missing_name("keras.losses", name, __all__)
