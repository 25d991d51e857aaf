"""Utilities (`keras.utils`)."""

from fastk.dtypes import standardize_dtype
from fastk.graph import get_source_inputs, is_keras_tensor
from fastk.messages import disable_interactive_logging, enable_interactive_logging, is_interactive_logging_enabled
from fastk.serialization import (
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from fastk.utils import bounding_boxes, legacy
from fastk.utils.config_object import Config
from fastk.utils.data import (
    Dataset,
    audio_dataset_from_directory,
    image_dataset_from_directory,
    split_dataset,
    text_dataset_from_directory,
    timeseries_dataset_from_array,
)
from fastk.utils.files import get_file
from fastk.utils.images import array_to_img, img_to_array, load_img, save_img
from fastk.utils.numerical import normalize, to_categorical
from fastk.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight
from fastk.utils.progbar import Progbar
from fastk.utils.py_dataset import PyDataset
from fastk.utils.rng import set_random_seed
from fastk.utils.sequence_padding import pad_sequences
from fastk.utils.session import clear_session

CustomObjectScope = custom_object_scope
Sequence = PyDataset

__all__ = [
    "Config",
    "CustomObjectScope",
    "Dataset",
    "FeatureSpace",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "audio_dataset_from_directory",
    "bounding_boxes",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "legacy",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
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
