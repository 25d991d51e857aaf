<<<<<<< HEAD
"""Utilities a user touches directly: progress bar, datasets, the `(x, y, sample_weight)` convention."""
=======
"""Utilities (`keras.utils`)."""

from fastk.dtypes import standardize_dtype
from fastk.graph import is_keras_tensor
from fastk.serialization import (
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from fastk.utils.numerical import normalize, to_categorical
from fastk.utils.rng import set_random_seed
from fastk.utils.session import clear_session

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "is_keras_tensor",
    "normalize",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "standardize_dtype",
    "to_categorical",
]
>>>>>>> basics
