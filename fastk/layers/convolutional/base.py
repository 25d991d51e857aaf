"""What convolution layers share: arguments, layouts, the bias and the activation."""

from __future__ import annotations

from typing import Any

from fastk import activations, config, regularizers
from fastk.layers.arguments import standardize_padding, standardize_tuple
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.windows import windows_shape


class Convolution(Layer):
    """Base of the layers that slide a kernel over sequences, images or volumes.

    Subclasses call `_set_up` in their constructor and write `_convolve`.

    Attributes:
        rank: the number of spatial axes.
    """

    rank: int
    allows_causal = False
    bias: Any

    def _set_up(
        self,
        *,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        **weight_options: Any,
    ) -> None:
        """Checks and keeps the arguments that all of these layers have."""
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        self.padding = standardize_padding(padding, allow_causal=self.allows_causal)
        self.data_format = config.standardize_data_format(data_format)
        self._channels_first = self.data_format == "channels_first"
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._set_weight_options(**weight_options)
        self.input_spec = InputSpec(min_ndim=self.rank + 2)

    def _require_channels(self, input_shape: Any) -> int:
        """The number of input channels, which inputs must have from now on."""
        axis = 1 if self._channels_first else -1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"The channel axis of the inputs must have a known size. Received: input_shape={input_shape}, "
                f"data_format={self.data_format!r}"
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2, axes={axis: channels})
        return channels

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        """The convolution of `x`, channels last, with the bias and, where it has a name, the activation."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_convolve(x, bias, activation)`.")

    def call(self, inputs: Any) -> Any:
        """The activated convolution of `inputs`."""
        x = inputs.movedim(1, -1) if self._channels_first else inputs
        fused = activations.fused_name(self.activation)
        outputs = self._convolve(x, None if self.bias is None else self.bias.value, fused)
        if fused is None:
            outputs = self.activation(outputs)
        return outputs.movedim(-1, 1) if self._channels_first else outputs

    def _finished(self, outputs: Any, bias: Any, activation: str | None) -> Any:
        """`outputs` with what a convolution that fuses nothing leaves to do."""
        if bias is not None:
            outputs = outputs + bias
        return outputs if activation is None else self.activation(outputs)

    def _windows_shape(self, input_shape: Any, filters: int) -> tuple:
        return windows_shape(
            input_shape, filters, self.kernel_size, self.strides, self.padding, self.data_format, self.dilation_rate
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **self._weight_options_config(),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


def require_positive(**arguments: Any) -> None:
    """Raises `ValueError` for an argument that is not positive; None is not checked."""
    for name, value in arguments.items():
        if value is not None and value <= 0:
            raise ValueError(
                f"Invalid value for argument `{name}`. Expected a strictly positive value. Received {name}={value}."
            )


def require_no_dilated_strides(strides: tuple, dilation_rate: tuple) -> None:
    """Raises `ValueError` where both are above 1."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ValueError(
            "`strides > 1` not supported in conjunction with `dilation_rate > 1`. "
            f"Received: strides={strides} and dilation_rate={dilation_rate}"
        )
