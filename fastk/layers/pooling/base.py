"""What pooling layers share."""

from __future__ import annotations

from typing import Any

from fastk import config
from fastk.graph import OpSpec
from fastk.layers.arguments import standardize_padding, standardize_tuple
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.windows import joined_shape, split_shape, windows_shape
from fastk.naming import to_snake_case


class Pooling(Layer):
    """Base of the layers that reduce windows to one value; subclasses write `_pool`.

    Attributes:
        rank: the number of spatial axes.
    """

    rank: int

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.pool_size = standardize_tuple(pool_size, self.rank, "pool_size")
        self.strides = standardize_tuple(pool_size if strides is None else strides, self.rank, "strides")
        self.padding = standardize_padding(padding)
        self.data_format = config.standardize_data_format(data_format)
        self._channels_first = self.data_format == "channels_first"
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def _pool(self, x: Any) -> Any:
        """The pooled `x`, channels last."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_pool(x)`.")

    def call(self, inputs: Any) -> Any:
        """`inputs`, pooled."""
        if self._channels_first:
            return self._pool(inputs.movedim(1, -1)).movedim(-1, 1)
        return self._pool(inputs)

    def _graph_ops(self) -> list[OpSpec]:
        name = to_snake_case(type(self).__name__).replace("pooling", "pool")
        shown = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return [OpSpec(name, self.call, shown=shown)]

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape of the output."""
        _, channels = split_shape(input_shape, self.data_format)
        return windows_shape(input_shape, channels, self.pool_size, self.strides, self.padding, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class GlobalPooling(Layer):
    """Base of the layers that reduce all spatial axes; subclasses write `call`.

    Args:
        data_format: where the channels are: `"channels_last"` or `"channels_first"`.
        keepdims: whether the reduced axes stay, with size 1.

    Attributes:
        rank: the number of spatial axes.
    """

    rank: int

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = config.standardize_data_format(data_format)
        self.keepdims = keepdims
        first = 2 if self.data_format == "channels_first" else 1
        self._reduced_axes = tuple(range(first, first + self.rank))
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`(batch, channels)`, with axes of size 1 where they are kept."""
        spatial, channels = split_shape(input_shape, self.data_format)
        kept = (1,) * len(spatial) if self.keepdims else ()
        return joined_shape(input_shape[0], kept, channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}
