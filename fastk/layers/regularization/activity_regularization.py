"""`ActivityRegularization`: a penalty of activations."""

from __future__ import annotations

from typing import Any

from fastk import regularizers
from fastk.layers.arguments import SameShapeLayer


class ActivityRegularization(SameShapeLayer):
    """Hands its inputs on, and adds `l1 * sum(abs(x)) + l2 * sum(x ** 2)`, divided by the batch's size, to the loss.

    Args:
        l1, l2: the factors.

    >>> import fastk
    >>> layer = fastk.layers.ActivityRegularization(l1=0.5)
    >>> _ = layer(fastk.ops.ones((2, 3)))
    >>> float(layer.losses[0])
    1.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1 = l1
        self.l2 = l2

    def call(self, inputs: Any) -> Any:
        """`inputs`."""
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        del config["activity_regularizer"]
        return {**config, "l1": self.l1, "l2": self.l2}
