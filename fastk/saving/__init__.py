"""Saving and loading models (`keras.saving`): Keras's `.keras` format, its old `.h5`, and files of weights.

What either writes, the other reads.
"""

from fastk.saving.file_editor import KerasFileEditor
from fastk.saving.keras_file import load_model, save_model
from fastk.saving.weights import load_weights, save_weights
from fastk.serialization import (
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "KerasFileEditor",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]
