"""`Conv1D`, `Conv2D`, `Conv3D`: convolutions, and how their kernels are used."""

from __future__ import annotations

from typing import Any

from fastk import autograd, ops
from fastk.layers.convolutional.base import Convolution, require_no_dilated_strides, require_positive
from fastk.layers.lora import LowRankAdaptation


class _Conv(LowRankAdaptation, Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_lora(lora_rank, lora_alpha)
        self._set_up(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        require_no_dilated_strides(self.strides, self.dilation_rate)
        require_positive(filters=filters)
        if groups <= 0:
            raise ValueError(f"The number of groups must be a positive integer. Received: groups={groups}.")
        if filters is not None and filters % groups:
            raise ValueError(
                "The number of filters must be evenly divisible by the number of groups. "
                f"Received: groups={groups}, filters={filters}."
            )
        self.filters = filters
        self.groups = groups

    def build(self, input_shape: Any) -> None:
        """Makes the kernel `(*kernel_size, channels / groups, filters)` and the bias `(filters,)`."""
        channels = self._require_channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                "The number of input channels must be evenly divisible by the number of groups. Received groups="
                f"{self.groups}, but the input has {channels} channels (full input shape is {input_shape})."
            )
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self._add_weight_with_options("kernel", shape)
        self.bias = self._add_weight_with_options("bias", (self.filters,)) if self.use_bias else None
        self._build_lora()

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape of the output."""
        return self._windows_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "filters": self.filters, "groups": self.groups, **self._lora_config()}


class Conv1D(_Conv):
    """Slides filters along sequences: each output step is a weighted sum of a window of input steps.

    Args:
        filters: the number of output channels.
        kernel_size: steps in a window.
        strides: steps from window to window.
        padding: `"valid"`: windows inside the input alone; `"same"`: zeros on both sides, so that there is an output
            step for every `strides` input steps; `"causal"`: zeros before, so that no output step sees a later input.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        dilation_rate: steps between the entries of a window; above 1 only with `strides=1`.
        groups: the channels are split into this many parts, each with filters of its own.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        kernel_constraint, bias_constraint: projections after each step.
        lora_rank: the rank of a trained correction of the frozen kernel; see `enable_lora`.
        lora_alpha: the correction's scale, by default `lora_rank`.

    >>> import fastk
    >>> fastk.layers.Conv1D(8, 3, padding="causal")(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 10, 8])
    """

    rank = 1
    fuses = "conv1d"
    folds = True
    allows_causal = True

    def _convolve(self, x: Any, bias: Any, activation: str | None, kernel: Any = None) -> Any:
        return autograd.conv1d(
            x,
            self._adapted() if kernel is None else kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
            activation=activation,
        )


class Conv2D(_Conv):
    """Slides filters over images: each output pixel is a weighted sum of a window of input pixels.

    Args:
        filters: the number of output channels.
        kernel_size: rows and columns of a window: one integer for both, or a pair.
        strides: pixels from window to window.
        padding: `"valid"`: windows inside the input alone; `"same"`: zeros around it, so that there is an output
            pixel for every `strides` input pixels.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.
        dilation_rate: pixels between the entries of a window; above 1 only with `strides=1`.
        groups: the channels are split into this many parts, each with filters of its own.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        kernel_constraint, bias_constraint: projections after each step.
        lora_rank: the rank of a trained correction of the frozen kernel; see `enable_lora`.
        lora_alpha: the correction's scale, by default `lora_rank`.

    >>> import fastk
    >>> fastk.layers.Conv2D(8, 3, activation="relu")(fastk.ops.ones((2, 10, 10, 4))).shape
    torch.Size([2, 8, 8, 8])
    """

    rank = 2
    fuses = "conv2d"
    folds = True

    def _convolve(self, x: Any, bias: Any, activation: str | None, kernel: Any = None) -> Any:
        return autograd.conv2d(
            x,
            self._adapted() if kernel is None else kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
            activation=activation,
        )


class Conv3D(_Conv):
    """Slides filters over volumes; arguments as of `Conv2D`, with three sizes.

    >>> import fastk
    >>> fastk.layers.Conv3D(8, 3, padding="same")(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 5, 5, 5, 8])
    """

    rank = 3

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        outputs = ops.conv(
            x,
            self._adapted(),
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        return self._finished(outputs, bias, activation)
