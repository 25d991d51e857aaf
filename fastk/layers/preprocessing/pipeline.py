"""`Pipeline`: layers applied one after the other, to tensors or to dicts of them."""

from __future__ import annotations

from typing import Any

from fastk import tree
from fastk.layers.layer import Layer
from fastk.serialization import deserialize_keras_object, serialize_keras_object
from fastk.tensor import get_keras_mask


class Pipeline(Layer):
    """A sequence of layers, such as augmentations, as one layer: what one returns is what the next is given.

    Args:
        layers: the layers.
        name: the layer's name.

    >>> import fastk
    >>> layers = [fastk.layers.Resizing(4, 4), fastk.layers.RandomFlip()]
    >>> fastk.layers.Pipeline(layers)({"images": fastk.ops.ones((2, 8, 8, 3))})["images"].shape
    torch.Size([2, 4, 4, 3])
    """

    def __init__(self, layers: Any, name: str | None = None):
        super().__init__(name=name)
        self._pipeline_layers = layers
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    @property
    def layers(self) -> Any:
        """The layers."""
        return self._pipeline_layers

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        """What the last layer returns."""
        outputs = inputs
        for layer in self._pipeline_layers:
            options: dict[str, Any] = {}
            if layer._call_has_mask:
                options["mask"] = mask
            if layer._call_has_training and training is not None:
                options["training"] = training
            outputs = layer(outputs, **options)
            mask = tree.map_structure(get_keras_mask, outputs)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"layers": [serialize_keras_object(layer) for layer in self._pipeline_layers], "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A pipeline from `get_config`'s result."""
        layers = config.get("layers")
        if not isinstance(layers, (list, tuple)):
            raise ValueError(
                "`Pipeline` config must contain a `layers` key mapping to a list of serialized layers. Received config "
                f"with layers={layers}."
            )
        made = [deserialize_keras_object(layer, custom_objects=custom_objects) for layer in layers]
        return cls(**{**config, "layers": made})
