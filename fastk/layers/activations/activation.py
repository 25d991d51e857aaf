"""`Activation`: an activation function as a layer."""

from __future__ import annotations

from typing import Any

from fastk import activations
from fastk.graph import OpSpec
from fastk.layers.arguments import SameShapeLayer
from fastk.layers.graph_ops import activation_op


class Activation(SameShapeLayer):
    """Applies an activation function.

    Args:
        activation: a name, such as `"relu"`, or a function.

    >>> import fastk
    >>> print(fastk.layers.Activation("relu")(fastk.ops.array([-1.0, 2.0])))
    [0. 2.]
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """The function's value at `inputs`."""
        return self.activation(inputs)

    def _graph_ops(self) -> list[OpSpec]:
        return [activation_op(self.activation)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
