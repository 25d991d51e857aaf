"""`Flatten`: all axes but the batch's in one."""

from __future__ import annotations

import math
from typing import Any

from fastk import config
from fastk.layers.arguments import SameDtypeLayer
from fastk.layers.input_spec import InputSpec


class Flatten(SameDtypeLayer):
    """`(batch, ...)` to `(batch, the product of the other sizes)`; `(batch,)` to `(batch, 1)`.

    Args:
        data_format: with `"channels_first"` the channels are moved last before flattening, so that a model keeps
            its weights when its layout changes.

    >>> import fastk
    >>> fastk.layers.Flatten()(fastk.ops.ones((2, 3, 4))).shape
    torch.Size([2, 12])
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = config.standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)
        self._channels_first = self.data_format == "channels_first"

    def call(self, inputs: Any) -> Any:
        """`inputs`, flat."""
        if inputs.ndim == 1:
            return inputs.unsqueeze(1)
        if self._channels_first:
            inputs = inputs.movedim(1, -1)
        return inputs.flatten(1)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`(batch, product)`."""
        sizes = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "data_format": self.data_format}
