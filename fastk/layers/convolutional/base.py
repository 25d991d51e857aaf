"""What convolution layers share: arguments, layouts, the bias and the activation."""

from __future__ import annotations

from typing import Any

from fastk import activations, config, regularizers
from fastk.graph import OpSpec
from fastk.layers.arguments import standardize_padding, standardize_tuple
from fastk.layers.graph_ops import kernel_activation, left_activation
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.windows import windows_shape


class Convolution(Layer):
    """Base of the layers that slide a kernel over sequences, images or volumes.

    Subclasses call `_set_up` in their constructor and write `_convolve`.

    Attributes:
        rank: the number of spatial axes.
        fuses: the op whose kernels take an activation along; None where there is none.
        folds: whether the filters are the kernel's last axis, so that a batch normalization can be folded into it.
    """

    rank: int
    allows_causal = False
    fuses: str | None = None
    folds = False
    kernel: Any
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

    def _adapted(self) -> Any:
        """The kernel; with its correction, in layers that may have one (`fastk/layers/lora.py`)."""
        return self.kernel.value

    def _frozen(self) -> Any:
        return self.kernel

    def _lora_weights(self) -> dict[str, Any]:
        return {}

    def _convolve(self, x: Any, bias: Any, activation: str | None) -> Any:
        """The convolution of `x`, channels last, with the bias and, where it has a name, the activation.

        Where the layer `folds`, a fourth argument may take the kernel's place.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `_convolve(x, bias, activation)`.")

    def call(self, inputs: Any) -> Any:
        """The activated convolution of `inputs`."""
        return self._convolution(inputs, activations.fused_name(self.activation), last=self.activation)

    def _convolution(
        self, inputs: Any, activation: str | None = None, batch_norm: Any = None, last: Any = activations.linear
    ) -> Any:
        """The convolution with what follows it: a `BatchNormalization` in inference, an activation.

        `last` is called on the result, channels last, where the activation has no name.
        """
        x = inputs.movedim(1, -1) if self._channels_first else inputs
        bias = None if self.bias is None else self.bias.value
        if batch_norm is None:
            outputs = self._convolve(x, bias, activation)
        else:
            kernel, bias = batch_norm._folded(self._adapted(), bias)
            outputs = self._convolve(x, bias, activation, kernel)  # type: ignore[call-arg]
        if activation is None:
            outputs = last(outputs)
        return outputs.movedim(-1, 1) if self._channels_first else outputs

    def _graph_ops(self) -> list[OpSpec]:
        known = activations.fused_name(self.activation) is not None
        if self.fuses is None or (self._channels_first and not known):
            return super()._graph_ops()
        options: dict[str, Any] = {"activation": kernel_activation(self.activation)}
        if self.folds:
            options["batch_norm"] = None
        shown = {"strides": self.strides, "padding": self.padding, "channels": 1 if self._channels_first else -1}
        weights = {"kernel": self._frozen(), "bias": self.bias, **self._lora_weights()}
        convolution = OpSpec(self.fuses, self._convolution, options, shown, weights)
        return [convolution, *left_activation(self.activation)]

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
