"""`DepthwiseConv1D`, `DepthwiseConv2D`: a convolution of each channel by itself."""

from __future__ import annotations

from typing import Any

from fastk import autograd
from fastk.layers.convolutional.base import Convolution, require_positive
from fastk.layers.windows import split_shape


def depthwise(layer: Convolution, x: Any, kernel: Any, bias: Any = None, activation: str | None = None) -> Any:
    """The convolution of each channel of `x`, channels last, with the windows of `layer`."""
    strides, dilation_rate = layer.strides, layer.dilation_rate
    if layer.rank == 1:
        # A sequence is an image of one row.
        x, kernel = x.unsqueeze(1), kernel.unsqueeze(0)
        strides, dilation_rate = (1, *strides), (1, *dilation_rate)
    outputs = autograd.depthwise_conv2d(x, kernel, bias, strides, layer.padding, dilation_rate, activation)
    return outputs.squeeze(1) if layer.rank == 1 else outputs


class _DepthwiseConv(Convolution):
    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
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
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )
        require_positive(depth_multiplier=depth_multiplier)
        self.depth_multiplier = depth_multiplier

    def build(self, input_shape: Any) -> None:
        """Makes the kernel `(*kernel_size, channels, depth_multiplier)` and the bias."""
        channels = self._require_channels(input_shape)
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self._add_weight_with_options("kernel", shape, option="depthwise")
        filters = channels * self.depth_multiplier
        self.bias = self._add_weight_with_options("bias", (filters,)) if self.use_bias else None

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        return depthwise(self, x, self.kernel.value, bias, activation)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape of the output."""
        _, channels = split_shape(input_shape, self.data_format)
        return self._windows_shape(input_shape, channels * self.depth_multiplier)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class DepthwiseConv1D(_DepthwiseConv):
    """Slides filters along each channel of a sequence by itself.

    Args:
        kernel_size: steps in a window.
        strides: steps from window to window.
        padding: `"valid"`: windows inside the input alone; `"same"`: zeros on both sides.
        depth_multiplier: output channels for each input channel.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        dilation_rate: steps between the entries of a window.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        depthwise_initializer, bias_initializer: first values.
        depthwise_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        depthwise_constraint, bias_constraint: projections after each step.

    >>> import fastk
    >>> fastk.layers.DepthwiseConv1D(3, depth_multiplier=2)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 8, 8])
    """

    rank = 1
    fuses = "depthwise_conv1d"


class DepthwiseConv2D(_DepthwiseConv):
    """Slides filters over each channel of an image by itself; arguments as of `DepthwiseConv1D`, with two sizes.

    >>> import fastk
    >>> fastk.layers.DepthwiseConv2D(3, padding="same")(fastk.ops.ones((2, 10, 10, 4))).shape
    torch.Size([2, 10, 10, 4])
    """

    rank = 2
    fuses = "depthwise_conv2d"
