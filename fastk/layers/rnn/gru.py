"""`GRU` and `GRUCell`: gated recurrent units."""

from __future__ import annotations

from typing import Any

from fastk import activations, autograd, tree
from fastk.layers.rnn.cell import RecurrentCell
from fastk.layers.rnn.cell_layer import GatedLayer, cell_arguments
from fastk.layers.rnn.steps import Result


class GRUCell(RecurrentCell):
    """One step of a GRU; the equations stand in `fastk.kernels.gru`.

    Args:
        units: the size of the output, which is the state.
        activation: of the candidate: a name or function; None is linear.
        recurrent_activation: of the gates.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: first values.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: projections after each step.
        dropout: the share of the inputs dropped in training, the same ones at every step.
        recurrent_dropout: the share of the previous outputs dropped in training, the same ones at every step.
        reset_after: whether the reset gate is applied after the product with the recurrent kernel (then there is a bias
            `(2, 3 * units)`, for both products) or before (a bias `(3 * units,)`).
        seed: an integer makes the dropout the same in every run.

    Input `(batch, K)` and the states `[h]`, `h` of `(batch, units)`; output `h` and `[h]`.

    Source: Cho et al., 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation".

    >>> import fastk
    >>> cell = fastk.layers.GRUCell(4)
    >>> cell(fastk.ops.ones((2, 3)), cell.get_initial_state(2))[0].shape
    torch.Size([2, 4])
    """

    gates = 3
    state_count = 1
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
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
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
        self.reset_after = reset_after

    def _make_bias(self, columns: int) -> Any:
        return self._add_weight_with_options("bias", (2, columns) if self.reset_after else (columns,))

    def _op_arguments(self, inputs: Any, training: bool | None, fused: bool = True) -> dict[str, Any]:
        return {**super()._op_arguments(inputs, training, fused), "reset_after": self.reset_after}

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """The output for one step, and the new states."""
        nested = tree.is_nested(states)
        state = states[0] if nested else states
        output, new_states = autograd.gru_cell(inputs, state, **self._op_arguments(inputs, training))
        return output, new_states if nested else output

    def _whole_sequence(self, inputs: Any, states: Any, training: bool | None, fused: bool, **options: Any) -> Result:
        arguments = self._op_arguments(inputs, training, fused)
        return autograd.gru(inputs, initial_state=None if states is None else states[0], **arguments, **options)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "reset_after": self.reset_after}


class GRU(GatedLayer):
    """A layer of gated recurrent units; the equations stand in `fastk.kernels.gru`.

    Args:
        units to bias_regularizer: as of `GRUCell`.
        activity_regularizer: a penalty of the output.
        kernel_constraint to seed: as of `GRUCell`.
        return_sequences, return_state, go_backwards, stateful, unroll: as of `RNN`.
        reset_after: as of `GRUCell`.
        use_cudnn: as of `GatedLayer`.
        **kwargs: `zero_output_for_mask`, as of `RNN`, and what all layers take.

    Input `(batch, steps, K)`, output `(batch, units)` or `(batch, steps, units)`; the state is the last output.

    >>> import fastk
    >>> fastk.layers.GRU(4, return_sequences=True)(fastk.ops.ones((2, 5, 3))).shape
    torch.Size([2, 5, 4])
    """

    _cell_options = (*GatedLayer._cell_options, "recurrent_activation", "reset_after")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
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
        reset_after: bool = True,
        use_cudnn: str | bool = "auto",
        **kwargs: Any,
    ):
        cell = GRUCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
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
            reset_after=reset_after,
            seed=seed,
            name="gru_cell",
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
