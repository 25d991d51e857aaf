"""`ReLU`, `LeakyReLU`, `ELU`: rectifiers with their parameters."""

from __future__ import annotations

import warnings
from typing import Any

from fastk import activations
from fastk.graph import OpSpec
from fastk.layers.arguments import SameShapeLayer


def _require_non_negative(layer: str, name: str, value: Any) -> None:
    if value is None or value < 0:
        raise ValueError(
            f"{name} of a {layer} layer cannot be None or a negative value. Expected a float. Received: {name}={value}"
        )


class ReLU(SameShapeLayer):
    """The rectifier: `x` above `threshold` and at most `max_value`; `negative_slope * (x - threshold)` below.

    Args:
        max_value: the largest output; None is no limit.
        negative_slope: the slope below the threshold.
        threshold: where the rectifier opens.

    >>> import fastk
    >>> print(fastk.layers.ReLU(max_value=10, negative_slope=0.5)(fastk.ops.array([-10.0, 5.0, 20.0])))
    [-5.  5. 10.]
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0:
            raise ValueError(f"max_value of a ReLU layer cannot be a negative value. Received: max_value={max_value}")
        _require_non_negative("ReLU", "negative_slope", negative_slope)
        _require_non_negative("ReLU", "threshold", threshold)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, inputs: Any) -> Any:
        """The rectified inputs."""
        return activations.relu(
            inputs, negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )

    def _graph_ops(self) -> list[OpSpec]:
        names = {(None, 0.0, 0.0): "relu", (6.0, 0.0, 0.0): "relu6"}
        name = names.get((self.max_value, self.negative_slope, self.threshold))
        return [OpSpec("activation", self.call, shown={"activation": name})] if name else super()._graph_ops()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"max_value": self.max_value, "negative_slope": self.negative_slope, "threshold": self.threshold}
        return {**super().get_config(), **own}


class LeakyReLU(SameShapeLayer):
    """`x` where it is positive, `negative_slope * x` elsewhere.

    Args:
        negative_slope: the slope below zero.

    Source: Maas et al., 2013, "Rectifier nonlinearities improve neural network acoustic models".

    >>> import fastk
    >>> print(fastk.layers.LeakyReLU(0.5)(fastk.ops.array([-10.0, 5.0])))
    [-5.  5.]
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("Argument `alpha` is deprecated. Use `negative_slope` instead.", stacklevel=2)
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError(
                "The negative_slope value of a Leaky ReLU layer cannot be None or negative value. Expected a float. "
                f"Received: negative_slope={negative_slope}"
            )
        self.negative_slope = negative_slope

    def call(self, inputs: Any) -> Any:
        """The rectified inputs."""
        return activations.leaky_relu(inputs, negative_slope=self.negative_slope)

    def _graph_ops(self) -> list[OpSpec]:
        if self.negative_slope != 0.2:  # that of the kernels
            return super()._graph_ops()
        return [OpSpec("activation", self.call, shown={"activation": "leaky_relu"})]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(SameShapeLayer):
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere.

    Args:
        alpha: the negative limit.

    Source: Clevert et al., 2016, "Fast and accurate deep network learning by exponential linear units".

    >>> import fastk
    >>> print(fastk.layers.ELU()(fastk.ops.array([-50.0, 5.0])))
    [-1.  5.]
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Any) -> Any:
        """The activated inputs."""
        return activations.elu(inputs, alpha=self.alpha)

    def _graph_ops(self) -> list[OpSpec]:
        return (
            [OpSpec("activation", self.call, shown={"activation": "elu"})]
            if self.alpha == 1.0
            else (super()._graph_ops())
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha}
