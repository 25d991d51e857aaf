"""`Sequential`: a stack of layers."""

from __future__ import annotations

import copy
from typing import Any

from fastk import serialization, tree
from fastk.graph import KerasTensor
from fastk.layers.core.input_layer import InputLayer
from fastk.layers.layer import Layer
from fastk.models.functional import Functional
from fastk.models.model import Model
from fastk.tensor import get_keras_mask


class Sequential(Model):
    """A linear stack of layers, each with one input and one output.

    Args:
        layers: the layers, an `Input` first where the input's shape is known.
        trainable: whether training changes the weights.
        name: the model's name.

    >>> import fastk
    >>> model = fastk.Sequential([fastk.Input((784,)), fastk.layers.Dense(10)])
    >>> model.output_shape
    (None, 10)
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None):
        super().__init__(trainable=trainable, name=name)
        # In a tuple, because the graph inside is the model's own and not one of its layers.
        self._built_graph: tuple[Functional, ...] = ()
        for layer in layers or ():
            self.add(layer, rebuild=False)
        if layers:
            self._maybe_rebuild()

    @property
    def _functional(self) -> Functional | None:
        return self._built_graph[0] if self._built_graph else None

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Puts a layer (or an `Input`) on top of the stack."""
        if not self._layers and getattr(layer, "_input_shape_arg", None) is not None:
            self.add(InputLayer(shape=layer._input_shape_arg))
        history = getattr(layer, "_keras_history", None)
        if history is not None and isinstance(history.operation, InputLayer):
            layer = history.operation
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Only instances of `keras.Layer` can be added to a Sequential model. Received: {layer} (of type "
                f"{type(layer)})"
            )
        if any(layer.name == known.name and known is not layer for known in self._layers):
            raise ValueError(
                f"All layers added to a Sequential model should have unique names. Name '{layer.name}' is already "
                "the name of a layer in this model. Update the `name` argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._layers and isinstance(self._layers[0], InputLayer):
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape "
                f"{self._layers[0].batch_shape}. You cannot add a different Input layer to it."
            )
        self._forget_graph()
        self._layers.append(layer)
        self._register_layers()
        if rebuild:
            self._maybe_rebuild()

    def pop(self, rebuild: bool = True) -> Layer:
        """Takes the last layer off the stack."""
        layer = self._layers.pop()
        self._forget_graph()
        self._register_layers()
        if rebuild and self._layers:
            self._maybe_rebuild()
        return layer

    def _forget_graph(self) -> None:
        self.built = False
        self._state_locked = False
        object.__setattr__(self, "_built_graph", ())

    def _register_layers(self) -> None:
        """Makes the stack's layers, in their order, the torch module's children."""
        for key in self._contained:  # what is an attribute stays
            self._modules.pop(key, None)
        self._contained.clear()
        attributes = set(map(id, self._modules.values()))
        for layer in dict.fromkeys(self._layers):
            if id(layer) not in attributes:
                self._register_contained(layer)

    def _maybe_rebuild(self) -> None:
        self._forget_graph()
        first = self._layers[0]
        if len(self._layers) > 1:
            if isinstance(first, InputLayer):
                self.build(first.batch_shape)
            elif isinstance(first, Functional) or (isinstance(first, Sequential) and first._functional is not None):
                self.build(first.input_shape)

    def build(self, input_shape: Any = None) -> None:
        """Builds the layers for inputs of `input_shape` (batch included)."""
        if not self._layers:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call `model.add(layer)`."
            )
        if not tree.is_shape(input_shape):
            return
        input_shape = tuple(input_shape)
        first = self._layers[0]
        if not isinstance(first, InputLayer):
            first = InputLayer(batch_shape=input_shape, dtype=self._layers[0].compute_dtype)
            self._layers.insert(0, first)
            self._register_layers()
        elif first.batch_shape != input_shape:
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape {first.batch_shape}. "
                f"You cannot build it with input_shape {input_shape}"
            )
        x = first.output
        for layer in self._layers[1:]:
            try:
                x = layer(x)
            except NotImplementedError:
                return  # its shape cannot be inferred: the stack runs layer by layer
            except TypeError as error:
                self._explain_arguments(layer, error)
                raise
        object.__setattr__(self, "_built_graph", (Functional(inputs=first.output, outputs=x, name=self.name),))

    @staticmethod
    def _explain_arguments(layer: Layer, error: TypeError) -> None:
        """Raises where a layer's `call` does not take the input tensor alone."""
        positional = [p for p in layer._signature.parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD]
        required = [p.name for p in positional if p.default is p.empty]
        if not positional or len(required) > 1:
            raise ValueError(
                "Layers added to a Sequential model can only have a single required positional argument, the input "
                f"tensor. Layer {type(layer).__name__} has {required or 'none'}: give the others defaults, or use a "
                "functional model."
            ) from error

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """The last layer's output."""
        if self._built_graph:
            return self._built_graph[0].call(inputs, training=training, mask=mask, **kwargs)
        for layer in self.layers:
            arguments = {name: kwargs[name] for name in layer._call_context_args if name in kwargs}
            if layer._call_has_mask:
                arguments["mask"] = mask
            if layer._call_has_training and training is not None:
                arguments["training"] = training
            inputs = layer(inputs, **arguments)
            mask = tree.map_structure(get_keras_mask, inputs)
        return inputs

    def _functional_part(self) -> Functional | None:
        return self._functional if type(self).call is Sequential.call else None

    def _layout(self) -> Any:
        return self._built_graph

    @property
    def layers(self) -> list[Layer]:
        """The stack, without its input."""
        return self._layers[1:] if self._layers and isinstance(self._layers[0], InputLayer) else list(self._layers)

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError(
            "`Sequential.layers` attribute is reserved and should not be used. Use `add()` and `pop()` to change the "
            "layers in this model."
        )

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """A KerasTensor like the last layer's output."""
        if self._built_graph:
            return self._built_graph[0].compute_output_spec(inputs, training=training, mask=mask)
        for layer in self.layers:
            inputs = layer.compute_output_spec(inputs)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The last layer's output shape."""
        if self._built_graph:
            return self._built_graph[0].compute_output_shape(input_shape)
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def _of_graph(self, attribute: str) -> Any:
        if not self._built_graph:
            raise AttributeError(
                f"Sequential model '{self.name}' has no defined {attribute.replace('_', ' ')} yet: add an `Input` "
                "first, or call the model on data."
            )
        return getattr(self._built_graph[0], attribute)

    @property
    def input(self) -> KerasTensor:
        """The symbolic input."""
        return self._of_graph("input")

    @property
    def output(self) -> KerasTensor:
        """The symbolic output."""
        return self._of_graph("output")

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic input, in a list."""
        return self._of_graph("inputs")

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic output, in a list."""
        return self._of_graph("outputs")

    @property
    def input_shape(self) -> Any:
        """The input's shape."""
        return self._of_graph("input_shape")

    @property
    def output_shape(self) -> Any:
        """The output's shape."""
        return self._of_graph("output_shape")

    @property
    def input_dtype(self) -> str:
        """The dtype that inputs are cast to."""
        first = self._layers[0] if self._layers else None
        return first.dtype if isinstance(first, InputLayer) else super().input_dtype

    def get_config(self) -> dict[str, Any]:
        """The stack's layers."""
        config = Layer.get_config(self)
        config["layers"] = copy.deepcopy([serialization.serialize_keras_object(layer) for layer in self._layers])
        if self._built_graph:
            config["build_input_shape"] = self._layers[0].batch_shape
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A model from `get_config`'s result."""
        if "name" not in config or "layers" not in config:
            raise ValueError(
                "A Sequential model configuration must be a dictionary containing the 'name' and 'layers' keys. "
                f"Received: config={config}"
            )
        model = cls(name=config["name"])
        if "trainable" in config:
            object.__setattr__(model, "_trainable", config["trainable"])
        if config.get("dtype") is not None:
            model.dtype_policy = serialization.deserialize_keras_object(config["dtype"])
        for layer_config in config["layers"]:
            if isinstance(layer_config, dict) and not {"class_name", "config"} <= layer_config.keys():
                raise ValueError(
                    "Cannot deserialize a layer of a Sequential model. Expected a dictionary containing a 'config' "
                    f"key. Received: {layer_config}"
                )
            layer = serialization.deserialize_keras_object(layer_config, custom_objects=custom_objects)
            model.add(layer, rebuild=False)
        if model._layers:
            model._maybe_rebuild()
        shape = config.get("build_input_shape")
        if not model._built_graph and shape and isinstance(shape, (list, tuple)):
            model.build(tuple(shape))
        return model
