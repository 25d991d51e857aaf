"""`SeparableConv1D`, `SeparableConv2D`: a depthwise convolution, then one that mixes the channels."""

from __future__ import annotations

from typing import Any

from fastk import autograd
from fastk.layers.convolutional.base import Convolution, require_positive
from fastk.layers.convolutional.depthwise_conv import depthwise


class _SeparableConv(Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_up(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )
        require_positive(depth_multiplier=depth_multiplier, filters=filters)
        self.filters = filters
        self.depth_multiplier = depth_multiplier

    def build(self, input_shape: Any) -> None:
        """Makes the depthwise kernel, the pointwise kernel and the bias."""
        channels = self._require_channels(input_shape)
        self.compute_output_shape(input_shape)
        deep = channels * self.depth_multiplier
        self.depthwise_kernel = self._add_weight_with_options(
            "depthwise_kernel", (*self.kernel_size, channels, self.depth_multiplier), option="depthwise"
        )
        self.pointwise_kernel = self._add_weight_with_options(
            "pointwise_kernel", (*(1,) * self.rank, deep, self.filters), option="pointwise"
        )
        self.bias = self._add_weight_with_options("bias", (self.filters,)) if self.use_bias else None

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        deep = depthwise(self, x, self.depthwise_kernel.value)
        # A convolution with windows of one entry is a product with a matrix.
        kernel = self.pointwise_kernel.value.flatten(0, -2)
        return autograd.dense(deep, kernel, bias, activation=activation)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape of the output."""
        return self._windows_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "filters": self.filters, "depth_multiplier": self.depth_multiplier}


class SeparableConv1D(_SeparableConv):
    """Slides filters along each channel of a sequence, then mixes the channels step by step.

    Args:
        filters: the number of output channels.
        kernel_size: steps in a window.
        strides: steps from window to window.
        padding: `"valid"`: windows inside the input alone; `"same"`: zeros on both sides.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        dilation_rate: steps between the entries of a window.
        depth_multiplier: channels that the first convolution makes of each.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        depthwise_initializer, pointwise_initializer, bias_initializer: first values.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        depthwise_constraint, pointwise_constraint, bias_constraint: projections after each step.

    Source: Chollet, 2017, "Xception: deep learning with depthwise separable convolutions".

    >>> import fastk
    >>> fastk.layers.SeparableConv1D(8, 3)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 8, 8])
    """

    rank = 1


class SeparableConv2D(_SeparableConv):
    """Slides filters over each channel of an image, then mixes the channels; arguments as of `SeparableConv1D`.

    >>> import fastk
    >>> fastk.layers.SeparableConv2D(8, 3, padding="same")(fastk.ops.ones((2, 10, 10, 4))).shape
    torch.Size([2, 10, 10, 8])
    """

    rank = 2
