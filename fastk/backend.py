"""`keras.backend`: the names that scripts written for Keras still take from there."""

from fastk.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from fastk.dtypes import is_float_dtype, is_int_dtype, result_type, standardize_dtype
from fastk.graph import is_keras_tensor
from fastk.naming import get_uid
from fastk.utils.session import clear_session

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]
