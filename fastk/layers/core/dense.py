"""`Dense`: a fully connected layer."""

from __future__ import annotations

from typing import Any

from fastk import activations, autograd
from fastk.graph import OpSpec
from fastk.layers.arguments import require_none
from fastk.layers.graph_ops import kernel_activation, left_activation
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.lora import LowRankAdaptation


class Dense(LowRankAdaptation, Layer):
    """`activation(inputs @ kernel + bias)` over the last axis.

    Args:
        units: size of the output's last axis.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        activity_regularizer: a penalty of the output.
        kernel_constraint, bias_constraint: projections after each step.
        lora_rank: the rank of a trained correction of the frozen kernel; see `enable_lora`.
        lora_alpha: the correction's scale, by default `lora_rank`.
        quantization_config: not supported; must be None.

    Input `(batch, ..., K)`, output `(batch, ..., units)`.

    >>> import fastk
    >>> fastk.layers.Dense(5, activation="relu")(fastk.ops.ones((2, 10))).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        units: int,
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
        quantization_config: None = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        require_none(quantization_config=quantization_config)
        self._set_lora(lora_rank, lora_alpha)
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                f"Received an invalid value for `units`, expected a positive integer. Received: units={units!r}"
            )
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._set_weight_options(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes the kernel `(K, units)` and the bias `(units,)`."""
        size = input_shape[-1]
        self.kernel = self._add_weight_with_options("kernel", (size, self.units))
        self.bias = self._add_weight_with_options("bias", (self.units,)) if self.use_bias else None
        self._build_lora()
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The layer's output for `inputs`."""
        fused = activations.fused_name(self.activation)
        outputs = self._product(inputs, fused)
        return outputs if fused is not None else self.activation(outputs)

    def _product(self, x: Any, activation: str | None = None, dropout: Any = None, batch_norm: Any = None) -> Any:
        """The product with what follows it: a `BatchNormalization` in inference, an activation, a `Dropout`."""
        kernel, bias = self._adapted(), None if self.bias is None else self.bias.value
        if batch_norm is not None:
            kernel, bias = batch_norm._folded(kernel, bias)
        if not x.is_floating_point():  # counts, or one-hot vectors of categories
            x = x.to(kernel.dtype)
        if dropout is None:
            return autograd.dense(x, kernel, bias, activation)
        return autograd.dense(x, kernel, bias, activation, dropout.rate, dropout.seed_generator.next())

    def _graph_ops(self) -> list[OpSpec]:
        options = {"activation": kernel_activation(self.activation), "batch_norm": None, "dropout": None}
        weights = {"kernel": self._frozen(), "bias": self.bias, **self._lora_weights()}
        return [OpSpec("dense", self._product, options, weights=weights), *left_activation(self.activation)]

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`input_shape` with `units` as its last size."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **self._weight_options_config(),
            "quantization_config": None,
            **self._lora_config(),
        }
