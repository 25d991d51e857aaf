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
from fastk.utils import bounding_boxes
from fastk.utils.numerical import normalize, to_categorical
from fastk.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight
from fastk.utils.progbar import Progbar
from fastk.utils.py_dataset import PyDataset
from fastk.utils.rng import set_random_seed
from fastk.utils.session import clear_session

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "FeatureSpace",
    "Progbar",
    "PyDataset",
    "bounding_boxes",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "is_keras_tensor",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "plot_model",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "standardize_dtype",
    "to_categorical",
    "unpack_x_y_sample_weight",
]


def __getattr__(name: str):
    if name == "FeatureSpace":  # a layer: layers use what is here
        import fastk.models.feature_space

        return fastk.models.feature_space.FeatureSpace
    if name in ("model_to_dot", "plot_model"):
        import fastk.models.plot

        return getattr(fastk.models.plot, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
