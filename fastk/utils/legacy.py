"""`keras.utils.legacy`: objects to descriptions and back, as before Keras v3's files."""

from fastk.legacy.saving import deserialize_keras_object, serialize_keras_object

__all__ = ["deserialize_keras_object", "serialize_keras_object"]
