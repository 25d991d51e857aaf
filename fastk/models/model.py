"""`Model`: a layer that can be compiled, trained, saved and shown."""

from __future__ import annotations

import inspect
import json
from typing import Any, NoReturn

from fastk import export, serialization, tree
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.models.planned import Planned
from fastk.training.trainer import Trainer


class Model(Planned, Trainer, Layer):
    """A layer with `compile`, `fit`, `evaluate`, `predict` and `save`.

    Three ways to make one: `Model(inputs, outputs)` from symbolic tensors, a subclass with a `call`, or `Sequential`.

    Args:
        *args: for a functional model its `inputs` and `outputs`, KerasTensors or structures of them.
        **kwargs: the same by name; the model's `name`, and what else `Layer` takes.

    >>> import fastk
    >>> x = fastk.Input((4,))
    >>> model = fastk.Model(x, fastk.layers.Dense(2)(x))
    >>> model.count_params()
    10
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A `Functional` model where inputs and outputs are given."""
        from fastk.models.functional import Functional

        made: Any = Functional if cls is Model and _is_functional(args, kwargs) else cls
        return super().__new__(made, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        from fastk.models.functional import Functional

        Trainer.__init__(self)
        if _is_functional(args, kwargs) and not isinstance(self, Functional):
            # A subclass that passes inputs and outputs on becomes a functional model.
            _make_functional(type(self))
            made: Any = self
            Functional.__init__(made, *args, **kwargs)
            return
        Layer.__init__(self, *args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The model's computation."""
        raise NotImplementedError(
            f"Model {type(self).__name__} does not have a `call()` method implemented: write `def call(self, "
            "inputs)`, or pass `inputs` and `outputs` to the constructor."
        )

    @property
    def layers(self) -> list[Layer]:
        """The model's layers, nested models counting as one."""
        return self._flatten_layers(include_self=False, recursive=False)

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved and should not be used. Please use another name.")

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that index.

        Raises:
            ValueError: where there is none; names the layers that there are.
        """
        if (name is None) == (index is None):
            raise ValueError("Provide either a layer name or layer index at `get_layer`, and not both.")
        layers = self.layers
        if index is not None:
            if len(layers) <= index:
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(layers)} layers."
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[layer.name for layer in layers]}.")

    def build(self, input_shape: Any) -> None:
        """Makes the variables by running `call` on inputs of `input_shape` (a structure of shapes, batch included)."""
        if self.built and not self._building:
            return
        inputs = tree.map_shape_structure(lambda shape: KerasTensor(shape, dtype=self.input_dtype), input_shape)
        parameters = [p for p in inspect.signature(self.call).parameters.values() if p.default is p.empty]
        if isinstance(inputs, (list, tuple)) and len(parameters) > 1:
            self.compute_output_spec(*inputs)
        else:
            self.compute_output_spec(inputs)
        self.built = True

    build._traces_call = True  # type: ignore[attr-defined]

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Prints a table of the layers, their output shapes and their numbers of parameters.

        Args:
            line_length: total width of the table in characters; by default as wide as it needs.
            positions: where each column ends, as fractions of the width or absolute.
            print_fn: called with the text, in place of `print`.
            expand_nested: whether the layers of nested models are shown.
            show_trainable: whether a column says which layers are trainable.
            layer_range: names (or patterns) of the first and the last layer to show.
        """
        from fastk.models.summary import print_summary

        print_summary(
            self,
            line_length=line_length,
            positions=positions,
            print_fn=print_fn,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
            layer_range=layer_range,
        )

    # ------------------------------------------------------------ files

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Saves the model as a `.keras` file: architecture, weights, compile arguments, optimizer state.

        Args:
            filepath: a path that ends in `.keras`.
            overwrite: whether an existing file is replaced; if not, its existence is an error.
            zipped: one file (True, None) or a folder (False).
            kwargs: `include_optimizer=False` leaves the optimizer's state out.
        """
        from fastk.saving import save_model

        save_model(self, filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: Any = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Writes the model as a program of torch (`format="torch"`) or as an ONNX file (`"onnx"`); see docs/files.md.

        Args:
            filepath, format, verbose, input_signature, kwargs: see `fastk.export.export_model`.
        """
        export.export_model(self, filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, mode: Any = None, config: Any = None, filters: Any = None, **kwargs: Any) -> NoReturn:
        """Not supported: raises `NotImplementedError`, which says what to do instead."""
        super().quantize(mode, config=config)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Saves the weights as a `.weights.h5` or `.safetensors` file, or as several of at most `max_shard_size` GB."""
        from fastk.saving import save_weights

        save_weights(self, filepath, overwrite=overwrite, max_shard_size=max_shard_size)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads weights from a `.weights.h5`, `.safetensors` or `.keras` file, or an `.h5` file of Keras's old format.

        Args:
            filepath: the file.
            skip_mismatch: warn about layers whose weights do not fit, instead of raising.
            kwargs: `objects_to_skip`, or for the old format `by_name`; see `keras.saving.load_weights`.
        """
        from fastk.saving import load_weights

        load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, dict]:
        """The variables of the model, of its optimizer and its metrics, in dicts nested by the parts of their paths.

        Args:
            value_format: `"backend_tensor"`, or `"numpy_array"` for copies.

        >>> import fastk
        >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1, name="out")], name="net")
        >>> sorted(model.get_state_tree("numpy_array")["trainable_variables"]["net"]["out"])
        ['bias', 'kernel']
        """
        from fastk.models.state_tree import state_tree

        return state_tree(self, value_format)

    def set_state_tree(self, state_tree: dict[str, dict]) -> None:
        """Assigns values in the form of `get_state_tree`; variables that are not in it stay as they are."""
        from fastk.models.state_tree import set_state_tree

        set_state_tree(self, state_tree)

    # ------------------------------------------------------------ configuration

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the model as `get_build_config` recorded it."""
        if not config or self.built:
            return
        super().build_from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return self._automatic_config(config) if type(self).get_config is Model.get_config else config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A model from `get_config`'s result."""
        from fastk.models.functional import Functional, functional_from_config, takes_functional_arguments

        if {"layers", "input_layers", "output_layers"} <= config.keys() and takes_functional_arguments(cls):
            target = Functional if cls is Model else cls
            return functional_from_config(target, config, custom_objects=custom_objects)
        if isinstance(config.get("dtype"), dict):
            config = {**config, "dtype": serialization.deserialize_keras_object(config["dtype"])}
        try:
            return cls(**config)
        except TypeError as error:
            raise TypeError(
                "Unable to revive model from config. When overriding the `get_config()` method, make sure that the "
                f"returned config contains all items used as arguments in the constructor to {cls}, or override "
                "`from_config()`.\n\n"
                f"Received config={config}\n\nError encountered during deserialization: {error}"
            ) from error

    def to_json(self, **kwargs: Any) -> str:
        """The architecture and the compile arguments as JSON; `model_from_json` reads it."""
        return json.dumps(serialization.serialize_keras_object(self), **kwargs)


def model_from_json(json_string: str, custom_objects: dict | None = None) -> Model:
    """The model that `to_json` described, with new weights.

    >>> import fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
    >>> fastk.models.model_from_json(model.to_json()).count_params()
    4
    """
    return serialization.deserialize_keras_object(json.loads(json_string), custom_objects=custom_objects)


def _is_functional(args: tuple, kwargs: dict) -> bool:
    symbolic = [x for x in tree.flatten(list(args[:2])) if isinstance(x, KerasTensor)]
    return (
        (len(args) >= 2 and bool(symbolic))
        or (len(args) == 1 and "outputs" in kwargs)
        or {"inputs", "outputs"} <= kwargs.keys()
    )


def _make_functional(cls: type) -> None:
    """Puts `Functional` in the place of `Model` among the bases of a subclass."""
    from fastk.models.functional import Functional

    if cls is Model or cls is object or issubclass(cls, Functional):
        return
    for base in cls.__bases__:
        if issubclass(base, Model):
            _make_functional(base)
    cls.__bases__ = tuple(Functional if base is Model else base for base in cls.__bases__)
