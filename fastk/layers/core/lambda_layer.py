"""`Lambda`: any function as a layer."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from fastk import lambdas, serialization, tree
from fastk.graph import KerasTensor, compute_output_spec
from fastk.layers.layer import Layer


class Lambda(Layer):
    """Applies a function without weights.

    Args:
        function: called with the inputs; where it has parameters `mask` and `training`, with these too.
        output_shape: the shape of the output without the batch, or a function of the input's shape; by default found
            by running the function without values.
        mask: the output's mask, or a function `(inputs, mask) -> mask`.
        arguments: further keyword arguments of the function.

    A Python lambda is written into files as byte code, and is only read back with `safe_mode=False`: prefer a named
    function that is registered with `keras.saving.register_keras_serializable`.

    >>> import fastk
    >>> print(fastk.layers.Lambda(lambda x: x * 2)(fastk.ops.ones((1, 2))))
    [[2. 2.]]
    """

    def __init__(
        self,
        function: Callable,
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.arguments = arguments or {}
        self.function = function
        self.supports_masking = mask is not None
        self.mask = mask
        self._output_shape = output_shape
        names = inspect.getfullargspec(function).args
        self._takes_training = "training" in names
        self._takes_mask = "mask" in names

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """The function's result."""
        kwargs = dict(self.arguments)
        if self._takes_mask:
            kwargs["mask"] = mask
        if self._takes_training:
            kwargs["training"] = training
        return self.function(inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The `mask` that the layer was made with, called where it is a function."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape."""
        if self._output_shape is None:
            inputs = tree.map_shape_structure(lambda shape: KerasTensor(shape, dtype=self.compute_dtype), input_shape)
            try:
                outputs = compute_output_spec(self.call, inputs)
            except Exception as error:
                raise NotImplementedError(
                    "We could not automatically infer the shape of the Lambda's output. Please specify the "
                    "`output_shape` argument for this Lambda layer. The function failed on tensors without values: "
                    f"{error}"
                ) from error
            return tree.map_structure(lambda x: x.shape, outputs)
        if callable(self._output_shape):
            return self._output_shape(input_shape)
        batch = tree.flatten(input_shape)[0]
        return tree.map_shape_structure(lambda shape: (batch, *shape), self._output_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, functions serialized."""
        config: dict[str, Any] = {"function": _written(self.function)}
        if self._output_shape is not None:
            config["output_shape"] = (
                _written(self._output_shape) if callable(self._output_shape) else self._output_shape
            )
        if self.mask is not None:
            config["mask"] = (
                _written(self.mask) if callable(self.mask) else serialization.serialize_keras_object(self.mask)
            )
        config["arguments"] = serialization.serialize_keras_object(dict(self.arguments))
        return {**super().get_config(), **config}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict | None = None, safe_mode: bool | None = None
    ) -> Lambda:
        """A layer from `get_config`'s result.

        Raises:
            ValueError: the function is a Python lambda, and `safe_mode` is not False.
        """
        config = dict(config)
        for name in ("function", "output_shape", "mask", "arguments"):
            if name in config:
                config[name] = _read(config[name], custom_objects, safe_mode)
        shape = config.get("output_shape")
        if isinstance(shape, list) and all(size is None or isinstance(size, int) for size in shape):
            config["output_shape"] = tuple(shape)
        return cls(**config)


def _written(function: Callable) -> Any:
    if isinstance(function, types.FunctionType) and function.__name__ == "<lambda>":
        code, defaults, closure = lambdas.dump(function)
        return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}
    return serialization.serialize_keras_object(function)


def _read(config: Any, custom_objects: dict | None, safe_mode: bool | None) -> Any:
    if not (isinstance(config, dict) and config.get("class_name") == "__lambda__"):
        return serialization.deserialize_keras_object(config, custom_objects=custom_objects)
    if safe_mode is None:
        safe_mode = serialization.in_safe_mode()
    if safe_mode is not False:
        raise ValueError(
            "Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda. This carries a "
            "potential risk of arbitrary code execution and thus it is disallowed by default. If you trust the "
            "source of the artifact, you can override this error by passing `safe_mode=False` to the loading "
            "function, or calling `keras.config.enable_unsafe_deserialization()`."
        )
    return lambdas.load(config["config"])
