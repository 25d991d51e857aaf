"""`Identity`: a layer that does nothing."""

from __future__ import annotations

from typing import Any

from fastk import tree
from fastk.graph import KerasTensor
from fastk.layers.arguments import SameShapeLayer


class Identity(SameShapeLayer):
    """Its outputs are its inputs: a placeholder where a layer is expected.

    >>> import fastk
    >>> print(fastk.layers.Identity()(fastk.ops.ones((1, 2))))
    [[1. 1.]]
    """

    def call(self, inputs: Any) -> Any:
        """`inputs`."""
        return inputs

    def compute_output_spec(self, inputs: Any) -> Any:
        """KerasTensors like the inputs."""
        return tree.map_structure(lambda x: KerasTensor(x.shape, dtype=x.dtype), inputs)
