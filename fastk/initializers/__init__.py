"""What gives weights their first values (`keras.initializers`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import dtypes
from fastk.initializers.constant import Constant, Identity, Ones, Zeros
from fastk.initializers.initializer import Initializer
from fastk.initializers.random_initializers import Orthogonal, RandomNormal, RandomUniform, TruncatedNormal
from fastk.initializers.stft import STFT
from fastk.initializers.variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
)
from fastk.serialization import Registry
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable, set_initializer_lookup, standardize_shape

constant, zeros, ones = Constant, Zeros, Ones
identity = IdentityInitializer = Identity
stft = STFTInitializer = STFT
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
orthogonal = OrthogonalInitializer = Orthogonal
variance_scaling = VarianceScaling
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform = HeNormal, HeUniform
lecun_normal, lecun_uniform = LecunNormal, LecunUniform

_registry = Registry(
    "initializer",
    classes=(
        Initializer, Constant, Zeros, Ones, Identity, STFT, RandomNormal, RandomUniform, TruncatedNormal, Orthogonal,
        VarianceScaling, GlorotNormal, GlorotUniform, HeNormal, HeUniform, LecunNormal, LecunUniform,
    ),
    aliases={
        "zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform, "IdentityInitializer": Identity,
        "STFTInitializer": STFT, "OrthogonalInitializer": Orthogonal,
    },
)  # fmt: skip

deserialize = _registry.deserialize


def serialize(initializer: Any) -> Any:
    """The configuration of an initializer."""
    return _registry.serialize(initializer)


def get(identifier: Any) -> Any:
    """The initializer that a name, a configuration, a class or an array means; a callable stays itself, None is None.

    >>> from fastk import initializers
    >>> initializers.get("he_normal").mode
    'fan_in'
    """
    if isinstance(identifier, (torch.Tensor, Variable, np.ndarray, np.generic)):
        return _values_of(identifier)
    return _registry.get(identifier)


set_initializer_lookup(get)


def _values_of(array: Any) -> Any:
    """An initializer that gives the values of `array`."""

    def initialize(shape: Any, dtype: Any = None) -> torch.Tensor:
        if standardize_shape(shape) != tuple(array.shape):
            raise ValueError(
                f"Expected `shape` to be {tuple(array.shape)}, that of the array given as initializer. "
                f"Received: shape={shape}"
            )
        return convert_to_tensor(array, dtype=dtypes.standardize_dtype(dtype))

    return initialize


__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]
