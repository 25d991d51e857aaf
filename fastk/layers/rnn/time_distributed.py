"""`TimeDistributed`: a layer applied to every step of a sequence."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.core.wrapper import Wrapper
from fastk.layers.layer import Layer

# Layers that treat each example of a batch by itself, so that steps and batch can be one axis.
_EXAMPLE_BY_EXAMPLE = (
    "fastk.layers.activations.",
    "fastk.layers.convolutional.",
    "fastk.layers.core.dense",
    "fastk.layers.core.embedding",
    "fastk.layers.pooling.",
    "fastk.layers.reshaping.",
)


class TimeDistributed(Wrapper):
    """Applies a layer to each step of a sequence, with the same weights.

    A layer of fastk that treats each example by itself (dense, convolutional, pooling, reshaping, activations,
    embedding) is called once, on all steps; any other is called step by step.

    Args:
        layer: the layer for one step.

    Call arguments:
        inputs: `(batch, steps, ...)`.
        training: given to a layer that takes it.
        mask: `(batch, steps, ...)`; each step's is given to a layer that takes a mask.

    >>> import fastk
    >>> frames = fastk.ops.ones((2, 5, 8, 8, 3))
    >>> fastk.layers.TimeDistributed(fastk.layers.Conv2D(4, 3))(frames).shape
    torch.Size([2, 5, 6, 6, 4])
    """

    def __init__(self, layer: Layer, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Please initialize `TimeDistributed` layer with a `keras.layers.Layer` instance. Received: {layer}"
            )
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Builds the layer on the shape of a step."""
        super().build(_step_shape(input_shape))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The layer's output shape with the number of steps in second place."""
        batch, *rest = self.layer.compute_output_shape(_step_shape(input_shape))
        return (batch, input_shape[1], *rest)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The layer's output for each step."""
        _step_shape(inputs.shape)
        if mask is not None:
            _check_mask(mask, inputs)
        layer = self.layer
        options = {"training": training} if layer._call_has_training else {}
        masks = mask if mask is not None and layer._call_has_mask else None
        batch, steps = inputs.shape[:2]
        if masks is None and self._takes_steps_as_examples():
            outputs = layer(inputs.flatten(0, 1), **options)
            return outputs.unflatten(0, (batch, steps))
        outputs = []
        for t in range(steps):
            if masks is not None:
                options["mask"] = masks[:, t]
            outputs.append(layer(inputs[:, t], **options))
        return torch.stack(outputs, 1)

    def _takes_steps_as_examples(self) -> bool:
        module = f"{type(self.layer).__module__}."
        return module.startswith(_EXAMPLE_BY_EXAMPLE) and self.layer.activity_regularizer is None


def _step_shape(shape: Any) -> tuple:
    """The shape of one step of a sequence of `shape`."""
    if not isinstance(shape, (tuple, list)) or len(shape) < 3:
        raise ValueError(
            "`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, (batch, "
            f"steps, ...), received: {shape}"
        )
    return (shape[0], *shape[2:])


def _check_mask(mask: Any, inputs: Any) -> None:
    if mask.ndim < 2:
        raise ValueError(
            "The `mask` passed to the `TimeDistributed` layer must be at least 2D (e.g., `(batch_size, timesteps)`), "
            f"but it has {mask.ndim} dimension(s) with shape {tuple(mask.shape)}."
        )
    if mask.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"The `mask` passed to the `TimeDistributed` layer has a shape {tuple(mask.shape)} that is incompatible "
            f"with the input shape {tuple(inputs.shape)}. The first two dimensions of the mask (batch size and "
            "timesteps) must match the input's first two dimensions. Expected mask shape prefix: "
            f"{tuple(inputs.shape[:2])}."
        )
