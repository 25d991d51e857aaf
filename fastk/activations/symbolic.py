"""Activations of symbolic tensors: a call of the operation in `fastk.ops` that computes the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.nodes import OpSpec
from fastk.graph.operation import Operation

# Where `keras.ops` has another name for it.
OPS_NAMES = {"exponential": "exp"}


def symbolic_call(function: Callable, x: KerasTensor, *args: Any, **kwargs: Any) -> Any:
    """A node of the graph for `function(x, ...)`."""
    import fastk.ops as ops

    bound = inspect.signature(function).bind(x, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    del arguments["x"]
    name = function.__name__
    if name == "mish":
        return ops.multiply(x, ops.tanh(ops.softplus(x)))
    if name == "relu":
        return ReLU(**arguments)(x)
    return getattr(ops, OPS_NAMES.get(name, name))(x, **arguments)


class ReLU(Operation):
    """`activations.relu`, whose arguments `keras.ops.relu` does not have.

    Args:
        negative_slope, max_value, threshold: as in `activations.relu`.
        name: the node's name.
    """

    _keras_location = ("keras.src.activations.activations", "ReLU", "ReLU")

    def __init__(
        self,
        negative_slope: float = 0.0,
        max_value: float | None = None,
        threshold: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.negative_slope, self.max_value, self.threshold = negative_slope, max_value, threshold

    def call(self, x: Any) -> Any:
        """The activation of a tensor."""
        from fastk import activations

        return activations.relu(x, self.negative_slope, self.max_value, self.threshold)

    def _graph_ops(self) -> list[OpSpec]:
        if self.negative_slope == 0.0 and self.max_value is None and self.threshold == 0.0:
            return [OpSpec("activation", self.call, shown={"activation": "relu"})]
        return super()._graph_ops()

    def compute_output_spec(self, x: Any) -> KerasTensor:
        """A KerasTensor like `x`."""
        return KerasTensor(x.shape, dtype=x.dtype)
