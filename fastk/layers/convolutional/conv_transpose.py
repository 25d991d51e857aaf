"""`Conv1DTranspose`, `Conv2DTranspose`, `Conv3DTranspose`: convolutions run backwards, to larger outputs."""

from __future__ import annotations

from typing import Any

from fastk import ops
from fastk.layers.arguments import standardize_tuple
from fastk.layers.convolutional.base import Convolution, require_no_dilated_strides, require_positive
from fastk.layers.windows import joined_shape, split_shape, transposed_length


class _ConvTranspose(Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
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
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        require_no_dilated_strides(self.strides, self.dilation_rate)
        require_positive(filters=filters)
        self.filters = filters
        self.output_padding = self._checked_output_padding(output_padding)

    def _checked_output_padding(self, output_padding: Any) -> tuple[int, ...] | None:
        if output_padding is None:
            return None
        output_padding = standardize_tuple(output_padding, self.rank, "output_padding", allow_zero=True)
        for i, (extra, stride) in enumerate(zip(output_padding, self.strides, strict=True)):
            if extra >= stride:
                raise ValueError(
                    f"`output_padding` must be strictly less than `strides` for all dimensions. At dimension {i}, "
                    f"`output_padding` is {extra} but `strides` is {stride}. Received: "
                    f"output_padding={output_padding}, strides={self.strides}"
                )
        return output_padding

    def build(self, input_shape: Any) -> None:
        """Makes the kernel `(*kernel_size, filters, channels)` and the bias `(filters,)`."""
        channels = self._require_channels(input_shape)
        self.kernel = self._add_weight_with_options("kernel", (*self.kernel_size, self.filters, channels))
        self.bias = self._add_weight_with_options("bias", (self.filters,)) if self.use_bias else None

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        outputs = ops.conv_transpose(
            x,
            self.kernel.value,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        return self._finished(outputs, bias, activation)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape of the output."""
        spatial, _ = split_shape(input_shape, self.data_format)
        extra = self.output_padding or (None,) * self.rank
        windows = zip(spatial, self.kernel_size, self.strides, extra, self.dilation_rate, strict=True)
        lengths = [transposed_length(n, w, s, self.padding, o, d) for n, w, s, o, d in windows]
        return joined_shape(input_shape[0], lengths, self.filters, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "filters": self.filters, "output_padding": self.output_padding}


class Conv1DTranspose(_ConvTranspose):
    """Makes longer sequences: each input step adds a window of values to the output.

    Args:
        filters: the number of output channels.
        kernel_size: steps in a window.
        strides: output steps from window to window.
        padding: `"valid"` keeps all that the windows cover; `"same"` gives `steps * strides`.
        output_padding: steps added to the least possible length, less than `strides`; by default as `padding` says.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.
        dilation_rate: steps between the entries of a window; above 1 only with `strides=1`.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        kernel_constraint, bias_constraint: projections after each step.

    Source: Zeiler et al., 2010, "Deconvolutional networks".

    >>> import fastk
    >>> fastk.layers.Conv1DTranspose(8, 3, strides=2)(fastk.ops.ones((2, 10, 4))).shape
    torch.Size([2, 21, 8])
    """

    rank = 1


class Conv2DTranspose(_ConvTranspose):
    """Makes larger images; arguments as of `Conv1DTranspose`, with two sizes.

    >>> import fastk
    >>> fastk.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(fastk.ops.ones((2, 5, 5, 4))).shape
    torch.Size([2, 10, 10, 8])
    """

    rank = 2


class Conv3DTranspose(_ConvTranspose):
    """Makes larger volumes; arguments as of `Conv1DTranspose`, with three sizes.

    >>> import fastk
    >>> fastk.layers.Conv3DTranspose(8, 3)(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 7, 7, 7, 8])
    """

    rank = 3

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,  # before `output_padding` in this one, as in Keras
        output_padding: Any = None,
        *args: Any,
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format, *args, **kwargs)
