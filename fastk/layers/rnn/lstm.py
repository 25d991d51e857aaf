"""`LSTM` and `LSTMCell`: long short-term memory."""

from __future__ import annotations

from typing import Any

import torch

from fastk import activations, autograd, initializers
from fastk.layers.rnn.cell import RecurrentCell
from fastk.layers.rnn.cell_layer import GatedLayer, cell_arguments
from fastk.layers.rnn.steps import Result


class LSTMCell(RecurrentCell):
    """One step of an LSTM; the equations stand in `fastk.kernels.lstm`.

    Args:
        units: the size of the output and of both states.
        activation: of the candidate and the output: a name or function; None is linear.
        recurrent_activation: of the gates.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: first values.
        unit_forget_bias: whether 1 is the first value of the forget gate's bias.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: projections after each step.
        dropout: the share of the inputs dropped in training, the same ones at every step.
        recurrent_dropout: the share of the previous outputs dropped in training, the same ones at every step.
        seed: an integer makes the dropout the same in every run.

    Input `(batch, K)` and the states `[h, c]`, each `(batch, units)`; output `h` and `[h, c]`.

    Source: Hochreiter and Schmidhuber, 1997, "Long short-term memory".

    >>> import fastk
    >>> cell = fastk.layers.LSTMCell(4)
    >>> h, states = cell(fastk.ops.ones((2, 3)), cell.get_initial_state(2))
    >>> h.shape, len(states)
    (torch.Size([2, 4]), 2)
    """

    gates = 4
    state_count = 2
    activation_names = ("activation", "recurrent_activation")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
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
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            **kwargs,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _make_bias(self, columns: int) -> Any:
        if not self.unit_forget_bias:
            return super()._make_bias(columns)
        return self.add_weight(
            (columns,),
            initializer=self._open_forget_gate,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
            name="bias",
        )

    def _open_forget_gate(self, shape: Any, dtype: Any = None) -> Any:
        """First values of the bias, 1 for the forget gate (Jozefowicz et al., 2015)."""
        first = self.bias_initializer((self.units,), dtype=dtype)
        rest = self.bias_initializer((2 * self.units,), dtype=dtype)
        return torch.cat([first, initializers.get("ones")((self.units,), dtype=dtype), rest])

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """The output for one step, and the new states."""
        return autograd.lstm_cell(inputs, states, **self._op_arguments(inputs, training))

    def _whole_sequence(self, inputs: Any, states: Any, training: bool | None, fused: bool, **options: Any) -> Result:
        arguments = self._op_arguments(inputs, training, fused)
        return autograd.lstm(inputs, initial_state=states, **arguments, **options)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class LSTM(GatedLayer):
    """A long short-term memory layer; the equations stand in `fastk.kernels.lstm`.

    Args:
        units to bias_regularizer: as of `LSTMCell`.
        activity_regularizer: a penalty of the output.
        kernel_constraint to seed: as of `LSTMCell`.
        return_sequences, return_state, go_backwards, stateful, unroll: as of `RNN`.
        use_cudnn: as of `GatedLayer`.
        **kwargs: `zero_output_for_mask`, as of `RNN`, and what all layers take.

    Input `(batch, steps, K)`, output `(batch, units)` or `(batch, steps, units)`; the states are `h` and `c`.

    >>> import fastk
    >>> x = fastk.ops.ones((2, 5, 3))
    >>> fastk.layers.LSTM(4)(x).shape
    torch.Size([2, 4])
    >>> outputs, h, c = fastk.layers.LSTM(4, return_sequences=True, return_state=True)(x)
    >>> outputs.shape, c.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 4]))
    """

    _cell_options = (*GatedLayer._cell_options, "recurrent_activation", "unit_forget_bias")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: str | bool = "auto",
        **kwargs: Any,
    ):
        cell = LSTMCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            name="lstm_cell",
            **cell_arguments(kwargs),
        )
        super().__init__(
            cell,
            use_cudnn=use_cudnn,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
