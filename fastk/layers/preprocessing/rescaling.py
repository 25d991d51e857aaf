"""`Rescaling`: values multiplied and shifted."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config as settings
from fastk.layers.layer import Layer
from fastk.serialization import deserialize_keras_object, serialize_keras_object
from fastk.tensor import convert_to_tensor


class Rescaling(Layer):
    """`inputs * scale + offset`, in the layer's compute dtype: `Rescaling(1 / 255)` for pixels from 0 to 1.

    Args:
        scale: a number, or numbers that broadcast with the inputs.
        offset: likewise.

    >>> import fastk
    >>> print(fastk.layers.Rescaling(0.5, offset=-1.0)(fastk.ops.array([[2, 4]])))
    [[0. 1.]]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self.supports_masking = True
        # Numbers and lists may be given where other layers take tensors alone.
        self._allow_non_tensor_positional_args = True

    def call(self, inputs: Any) -> Any:
        """`inputs`, rescaled."""
        dtype = self._torch_input_dtype()
        x = inputs if isinstance(inputs, torch.Tensor) else convert_to_tensor(inputs)
        x = x if x.dtype is dtype else x.to(dtype)
        return x * self._operand(self.scale, dtype, per_channel=True) + self._operand(self.offset, dtype)

    def _operand(self, value: Any, dtype: torch.dtype, per_channel: bool = False) -> Any:
        if isinstance(value, (int, float)):
            return value
        value = convert_to_tensor(value, dtype=dtype)
        if per_channel and value.ndim > 0 and settings.image_data_format() == "channels_first":
            value = value.reshape(*value.shape, *(1,) * (3 - value.ndim))
        return value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "scale": serialize_keras_object(self.scale),
            "offset": serialize_keras_object(self.offset),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A layer from `get_config`'s result."""
        values = {
            name: deserialize_keras_object(config[name], custom_objects=custom_objects) for name in ("scale", "offset")
        }
        return cls(**{**config, **values})
