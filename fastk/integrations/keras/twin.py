"""A model of fastk's that computes what a model of Keras's does, on the same tensors.

The symbolic calls of a functional or sequential model are made once more with fastk's layers, each from the
configuration of its counterpart. What has no counterpart (a layer of the user's, a `Lambda`) is one call of Keras's
layer, which fastk's plan makes like any other.
"""

from __future__ import annotations

import warnings
from typing import Any

from fastk import models, naming, scopes, serialization
from fastk.errors import FastkError
from fastk.graph import KerasTensor
from fastk.graph.operation import Node, Operation
from fastk.integrations.keras.sharing import Unlike, share_layer
from fastk.integrations.keras.support import settings_of
from fastk.layers import Input, Layer

_OURS = ("keras.src.layers.", "keras.src.ops.", "keras.src.models.")
# Keras's own classes that run the user's code, or look at strings on the host.
_OPAQUE = {"Lambda": "it runs the user's function", "TorchModuleWrapper": "it is a module of torch's",
           "StringLookup": "it looks strings up", "TextVectorization": "it looks strings up",
           "Hashing": "it looks strings up", "HashedCrossing": "it looks strings up",
           "IntegerLookup": "it looks values up", "ActivityRegularization": "its outputs are regularized"}  # fmt: skip
_CANNOT_BE_MADE = (FastkError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, NotImplementedError,
                   ImportError)  # fmt: skip


class KerasCall(Operation):
    """One operation of Keras's in a graph of fastk's.

    Args:
        theirs: the operation.
        reason: why fastk has no counterpart.
    """

    def __init__(self, theirs: Any, reason: str):
        super().__init__()
        self.name, self.theirs, self.reason = theirs.name, theirs, reason

    @property
    def weights(self) -> list[Any]:
        """Keras's variables."""
        return list(getattr(self.theirs, "weights", ()))

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What Keras's operation returns."""
        return self.theirs(*args, **kwargs)

    def _why_opaque(self) -> str:
        return f"called as in Keras, since {self.reason}"


class Twin:
    """A model of Keras's, as fastk runs it.

    Args:
        model: a built `keras.Model` whose calls are known.

    Attributes:
        model: the model of fastk's.
        opaque: of the layers that run as in Keras, by name, why.

    Raises:
        Unlike: the model has no graph; the message says why.
    """

    def __init__(self, keras: Any, model: Any):
        self.keras = keras
        self.opaque: dict[str, str] = {}
        self._made: dict[int, Any] = {}
        with settings_of(keras), scopes.internal(), naming.passing_names():
            self.model = self._functional(model, graph_of(keras, model))

    def __call__(self, inputs: Any, training: bool) -> Any:
        """The model's outputs."""
        with scopes.internal(), settings_of(self.keras):
            return self.model._run_planned(inputs, training=training)

    # ------------------------------------------------------------ the graph, once more

    def _functional(self, model: Any, functional: Any) -> Any:
        tree = self.keras.tree
        values: dict[int, Any] = {}
        for x in functional._inputs:
            layer = x._keras_history.operation
            optional = bool(getattr(layer, "optional", False))
            values[id(x)] = Input(batch_shape=x.shape, dtype=x.dtype, name=layer.name, optional=optional)

        def known(x: Any) -> Any:
            return values[id(x)] if isinstance(x, self.keras.KerasTensor) else x

        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for node in functional._nodes_by_depth[depth]:
                if node.is_input or id(node.outputs[0]) in values:
                    continue
                args, kwargs = tree.map_structure(known, (node.arguments.args, node.arguments.kwargs))
                outputs = self._call(node, tuple(args), kwargs)
                values.update(zip(map(id, node.outputs), outputs, strict=True))
        ends = [tree.map_structure(known, x) for x in (functional._inputs_struct, functional._outputs_struct)]
        made = models.Model(*ends, name=model.name)
        made.dtype_policy = serialization.deserialize_keras_object(_serialized(self.keras, model.dtype_policy))
        object.__setattr__(made, "_trainable", bool(model.trainable))
        return made

    def _call(self, node: Any, args: tuple, kwargs: dict[str, Any]) -> list[KerasTensor]:
        """The outputs of one call: of fastk's counterpart, or where there is none, of Keras's operation."""
        theirs = node.operation
        if id(theirs) not in self._made:
            self._made[id(theirs)] = self._counterpart(theirs)
        own = self._made[id(theirs)]
        if not isinstance(own, KerasCall):
            try:
                return self._called(own, theirs, node, args, kwargs)
            except _CANNOT_BE_MADE as error:
                own = self._made[id(theirs)] = self._kept(theirs, str(error).splitlines()[0])
        outputs = [KerasTensor(x.shape, dtype=x.dtype) for x in node.outputs]
        # What the model is called with takes the place of this one: Keras hands it down to the layers that are called.
        Node(own, args, {name: x for name, x in kwargs.items() if name != "training"}, outputs)
        return outputs

    def _called(self, own: Any, theirs: Any, node: Any, args: tuple, kwargs: dict[str, Any]) -> list[KerasTensor]:
        was_built = getattr(own, "built", True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras has warned when the model was made
            outputs = self.keras.tree.flatten(own(*args, **kwargs))
        if len(outputs) != len(node.outputs) or not all(map(_is_like, outputs, node.outputs)):
            shown = [[f"{tuple(x.shape)} {x.dtype}" for x in tensors] for tensors in (node.outputs, outputs)]
            raise Unlike(f"it gives {shown[0]} in Keras, and {shown[1]} in fastk")
        if isinstance(own, Layer) and not was_built:
            share_layer(own, theirs)
        return outputs

    def _counterpart(self, theirs: Any) -> Any:
        keras = self.keras
        try:
            if isinstance(theirs, keras.Model) and type(theirs).__module__.startswith("keras.src.models."):
                return self._functional(theirs, graph_of(keras, theirs))
            reason = why_opaque(theirs)
            if reason is None:
                own = serialization.deserialize_keras_object(_unbuilt(_serialized(keras, theirs)))
                if isinstance(own, Operation) and type(own).__module__.startswith("fastk."):
                    if isinstance(own, Layer):
                        share_layer(own, theirs) if own.built else None
                    return own
                reason = "it holds what is not Keras's own"
        except _CANNOT_BE_MADE as error:
            reason = str(error).splitlines()[0]
        return self._kept(theirs, reason)

    def _kept(self, theirs: Any, reason: str) -> KerasCall:
        self.opaque[theirs.name] = reason
        return KerasCall(theirs, reason)


def graph_of(keras: Any, model: Any) -> Any:
    """The functional model whose graph stands for a call of `model`.

    Raises:
        Unlike: there is none.
    """
    if not model.built:
        raise Unlike("it is not built yet: its graph is made at the first batch")
    kind = type(model)
    if isinstance(model, keras.Sequential) and kind.call is keras.Sequential.call:
        if model._functional is None:
            raise Unlike("Keras itself has no graph of its layers")
        return model._functional
    functional = type(keras.Model(*[keras.Input((1,))] * 2)) if not _FUNCTIONAL else _FUNCTIONAL[0]
    _FUNCTIONAL[:] = [functional]
    if isinstance(model, functional) and kind.call is functional.call:
        return model
    raise Unlike(f"{kind.__name__} has a `call()` of its own")


_FUNCTIONAL: list[type] = []  # Keras's class, which has no public name


def why_opaque(theirs: Any) -> str | None:
    """Why an operation of Keras's runs as it is; None where fastk's is to be tried."""
    kind = type(theirs)
    if not kind.__module__.startswith(_OURS):
        return f"{kind.__name__} is the user's own"
    if kind.__name__ in _OPAQUE:
        return _OPAQUE[kind.__name__]
    if kind.__name__.startswith("AveragePooling") and theirs.padding == "same":
        return "Keras repeats the border's values on torch, as on no other backend"
    if {"call", "__call__", "forward"} & theirs.__dict__.keys():
        return "its call was replaced"
    for layer in theirs._flatten_layers() if hasattr(theirs, "_flatten_layers") else ():
        if not type(layer).__module__.startswith(_OURS):
            return f"{type(layer).__name__} in it is the user's own"
        if layer.activity_regularizer is not None:
            return "its outputs are regularized"
        if layer.quantization_mode is not None or getattr(layer, "lora_enabled", False):
            return "it is quantized, or has LoRA weights"
        if getattr(layer, "stateful", False):
            return "it keeps its states from batch to batch"
        if layer._remat_mode is not None or layer._metrics:
            return "it is rematerialized, or has metrics of its own"
    return None


def _is_like(own: KerasTensor, theirs: Any) -> bool:
    """Whether a result has the shape and dtype of Keras's, as far as Keras knows the shape."""
    same = len(own.shape) == len(theirs.shape) and own.dtype == theirs.dtype
    return same and all(b is None or a == b for a, b in zip(own.shape, theirs.shape, strict=True))


def _serialized(keras: Any, theirs: Any) -> dict[str, Any]:
    return keras.saving.serialize_keras_object(theirs)


def _unbuilt(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of a layer that is to be built by its first call."""
    return {key: value for key, value in config.items() if key != "build_config"}
