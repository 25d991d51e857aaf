"""`RecurrentCell`: what the cells of LSTM, GRU and the simple RNN share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from fastk import activations, dtypes
from fastk.layers.layer import Layer
from fastk.layers.rnn.dropout import DropoutMasks
from fastk.random import SeedGenerator
from fastk.tensor import get_device


class RecurrentCell(DropoutMasks, Layer):
    """A cell with a kernel for its input, one for its previous output, and a bias.

    A subclass computes one step in `call`, and in `_whole_sequence` all steps at once.

    Attributes:
        gates: how many times `units` columns the kernels have.
        state_count: the number of states, each `(batch, units)`.
        activation_names: the attributes, and arguments of the cell's ops, that are activations.
    """

    gates: ClassVar[int]
    state_count: ClassVar[int]
    activation_names: ClassVar[tuple[str, ...]] = ("activation",)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                f"Received an invalid value for argument `units`, expected a positive integer, got {units}."
            )
        # Keras's older way to ask for a dropout mask for each gate, which recurrent dropout always has.
        implementation = kwargs.pop("implementation", 2) if self.gates > 1 else 2
        if implementation not in (0, 1, 2):
            raise ValueError(f"`implementation` must be 0, 1 or 2. Received: implementation={implementation}")
        super().__init__(**kwargs)
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._set_weight_options(
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
        )
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        if self.gates > 1 and (self.recurrent_dropout > 0 or implementation == 1):
            self.dropout_mask_count = self.gates
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.state_size = units if self.state_count == 1 else [units] * self.state_count
        self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Makes the kernels `(K, gates * units)` and `(units, gates * units)`, and the bias."""
        columns = self.gates * self.units
        self.kernel = self._add_weight_with_options("kernel", (input_shape[-1], columns))
        self.recurrent_kernel = self._add_weight_with_options("recurrent_kernel", (self.units, columns), "recurrent")
        self.bias = self._make_bias(columns) if self.use_bias else None

    def _make_bias(self, columns: int) -> Any:
        return self._add_weight_with_options("bias", (columns,))

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Zeros `(batch_size, units)` for each state."""
        return zero_states([self.units] * self.state_count, batch_size, dtypes.to_torch_dtype(self.compute_dtype))

    def _op_arguments(self, inputs: Any, training: bool | None, fused: bool = True) -> dict[str, Any]:
        """The weights, activations and masks that the cell's ops take, for `inputs` (B, K) or (B, T, K).

        An activation is given by its name, which a fused kernel knows; with `fused` False as a function.
        """
        arguments: dict[str, Any] = {
            "kernel": self.kernel.value,
            "recurrent_kernel": self.recurrent_kernel.value,
            "bias": None if self.bias is None else self.bias.value,
        }
        for name in self.activation_names:
            activation = getattr(self, name)
            arguments[name] = (activations.fused_name(activation) if fused else None) or activation
        if training and (self.dropout or self.recurrent_dropout):
            step = inputs if inputs.ndim == 2 else inputs[:, 0]
            arguments["dropout_mask"] = self.get_dropout_mask(step)
            previous = step.new_empty((step.shape[0], self.units))
            arguments["recurrent_dropout_mask"] = self.get_recurrent_dropout_mask(previous)
        return arguments

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            **{name: activations.serialize(getattr(self, name)) for name in self.activation_names},
            "use_bias": self.use_bias,
            **self._weight_options_config(),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


def zero_states(state_size: Any, batch_size: int | None, dtype: torch.dtype) -> Any:
    """Zeros `(batch_size, size)` for each size in `state_size`, nested likewise."""
    if batch_size is None:
        raise ValueError("The initial states have a batch size: pass `batch_size`, an integer. Received: None")
    if isinstance(state_size, (list, tuple)):
        return [zero_states(size, batch_size, dtype) for size in state_size]
    return torch.zeros((batch_size, state_size), dtype=dtype, device=get_device())
