"""`Bidirectional`: a recurrent layer over a sequence in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import dtypes, tree
from fastk.layers.layer import Layer
from fastk.serialization import deserialize_keras_object, serialize_keras_object

_MERGES: dict[str | None, Callable[[Any, Any], Any]] = {
    "concat": lambda forward, backward: torch.cat([forward, backward], -1),
    "sum": torch.add,
    "mul": torch.mul,
    "ave": lambda forward, backward: (forward + backward) / 2,
    None: lambda forward, backward: (forward, backward),
}


class Bidirectional(Layer):
    """Runs a recurrent layer forwards and a copy of it, with weights of its own, backwards.

    With masks and `return_sequences`, masked steps have output 0 in both directions.

    Args:
        layer: an `RNN`, `LSTM`, `GRU` or `SimpleRNN`, or another layer with their options; the forward layer is made
            from its configuration.
        merge_mode: how the two outputs become one: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None for a tuple of both.
        weights: arrays that the weights start from, the forward layer's first.
        backward_layer: the layer for the other direction; by default the forward layer with the other `go_backwards`.

    Call arguments are those of `RNN`; the first half of `initial_state` is the forward layer's.

    Source: Schuster and Paliwal, 1997, "Bidirectional recurrent neural networks".

    >>> import fastk
    >>> fastk.layers.Bidirectional(fastk.layers.LSTM(4, return_sequences=True))(fastk.ops.ones((2, 5, 3))).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        layer: Layer,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ):
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Please initialize `Bidirectional` layer with a `keras.layers.Layer` instance. Received: {layer}"
            )
        if backward_layer is not None and not isinstance(backward_layer, Layer):
            raise ValueError(f"`backward_layer` need to be a `keras.layers.Layer` instance. Received: {backward_layer}")
        if merge_mode not in _MERGES:
            raise ValueError(
                f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of {list(_MERGES)}."
            )
        super().__init__(**kwargs)
        source: Any = layer
        self.forward_layer = _copy(source, "forward_")
        self.backward_layer = (
            _copy(source, "backward_", go_backwards=True) if backward_layer is None else backward_layer
        )
        _check_pair(self.forward_layer, self.backward_layer)
        for one in (self.forward_layer, self.backward_layer):
            if hasattr(source, "use_cudnn"):  # in no configuration
                one.use_cudnn = source.use_cudnn
            if hasattr(one, "zero_output_for_mask"):
                one.zero_output_for_mask = one.return_sequences
        self.merge_mode = merge_mode
        self._first_weights = weights
        self.stateful = source.stateful
        self.return_sequences = source.return_sequences
        self.return_state = source.return_state
        self.supports_masking = True
        self.input_spec = source.input_spec
        self._makes_masks = False  # the outputs' masks are the input's

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds both layers."""
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
        if self._first_weights:
            half = len(self._first_weights) // 2
            self.forward_layer.set_weights(self._first_weights[:half])
            self.backward_layer.set_weights(self._first_weights[half:])
            self._first_weights = None

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        """The merged outputs, and the final states of both layers with `return_state`."""
        options = {}
        if self.forward_layer._call_has_training:
            options["training"] = training
        if self.forward_layer._call_has_mask:
            options["mask"] = mask
        states: tuple = (None, None)
        if initial_state is not None:
            half = len(initial_state) // 2
            states = initial_state[:half], initial_state[half:]
        forward = self.forward_layer(sequences, initial_state=states[0], **options)
        backward = self.backward_layer(sequences, initial_state=states[1], **options)
        final: tuple = ()
        if self.return_state:
            final = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        if self.return_sequences:
            backward = backward.flip(1)
        dtype = dtypes.to_torch_dtype(self.compute_dtype)
        output = _MERGES[self.merge_mode](forward.to(dtype), backward.to(dtype))
        if not self.return_state:
            return output
        return (*output, *final) if self.merge_mode is None else (output, *final)

    def reset_state(self) -> None:
        """Sets the states of stateful layers to zero."""
        if not self.stateful:
            raise AttributeError(f"Layer must be stateful: layer '{self.name}' was made of one with stateful=False.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    @property
    def states(self) -> tuple | None:
        """The states of both stateful layers."""
        forward, backward = self.forward_layer.states, self.backward_layer.states
        return (*forward, *backward) if forward and backward else None

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shape of the output, and those of the states with `return_state`."""
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        shape, states = (shape[0], shape[1:]) if self.return_state else (shape, ())
        if self.merge_mode is None:
            return shape, shape, *states, *states
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * shape[-1])
        return (shape, *states, *states) if self.return_state else shape

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the inputs for sequences of outputs; None for last outputs and for states."""
        mask = tree.flatten(previous_mask)[0] if self.return_sequences else None
        # States come last and have no mask.
        return (mask, mask) if self.merge_mode is None else (mask,) if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": serialize_keras_object(self.forward_layer),
            "backward_layer": serialize_keras_object(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A layer from `get_config`'s result."""
        layers = {
            name: deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("layer", "backward_layer")
            if config.get(name) is not None
        }
        return cls(**{**config, **layers})


def _copy(layer: Layer, prefix: str, **changes: Any) -> Any:
    """A layer from the configuration of `layer`, with weights of its own."""
    config = serialize_keras_object(layer)
    config["config"] |= {"name": prefix + layer.name.removeprefix(prefix), **changes}
    return deserialize_keras_object(config)


def _check_pair(forward: Any, backward: Any) -> None:
    if forward.go_backwards == backward.go_backwards:
        raise ValueError(
            "Forward layer and backward layer should have different `go_backwards` value. Received: "
            f"forward_layer.go_backwards={forward.go_backwards}, backward_layer.go_backwards={backward.go_backwards}"
        )
    for name in ("stateful", "return_sequences", "return_state"):
        values = getattr(forward, name), getattr(backward, name)
        if values[0] != values[1]:
            raise ValueError(
                f'Forward layer and backward layer are expected to have the same value for attribute "{name}", got '
                f'"{values[0]}" for forward layer and "{values[1]}" for backward layer'
            )
