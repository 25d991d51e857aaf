"""Layers to configurations and back."""

from __future__ import annotations

from typing import Any

from fastk.layers.layer import Layer
from fastk.serialization import deserialize_keras_object, serialize_keras_object


def serialize(layer: Layer) -> dict[str, Any]:
    """The configuration of `layer`, JSON-ready."""
    return serialize_keras_object(layer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """The layer that `serialize` described.

    Args:
        config: what `serialize` returned.
        custom_objects: names that the configuration may use, and what they mean.

    >>> import fastk
    >>> fastk.layers.deserialize(fastk.layers.serialize(fastk.layers.Dense(3))).units
    3
    """
    layer = deserialize_keras_object(config, custom_objects=custom_objects)
    if not isinstance(layer, Layer):
        raise ValueError(
            "`keras.layers.deserialize` was passed a `config` object that is not a `keras.layers.Layer`. "
            f"Received: {config}"
        )
    return layer
