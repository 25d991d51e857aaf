"""`SimpleRNN` and `SimpleRNNCell`: a fully connected recurrent network."""

from __future__ import annotations

from typing import Any

from fastk import autograd, tree
from fastk.layers.rnn.cell import RecurrentCell
from fastk.layers.rnn.cell_layer import CellLayer, cell_arguments
from fastk.layers.rnn.steps import Result


class SimpleRNNCell(RecurrentCell):
    """One step `activation(inputs @ kernel + h @ recurrent_kernel + bias)`, `h` being the previous output.

    Args:
        units: the size of the output, which is the state.
        activation: a name or function; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: first values.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: projections after each step.
        dropout: the share of the inputs dropped in training, the same ones at every step.
        recurrent_dropout: the share of the previous outputs dropped in training, the same ones at every step.
        seed: an integer makes the dropout the same in every run.

    Input `(batch, K)` and the states `[h]`, `h` of `(batch, units)`; output `h` and `[h]`.

    Source: Elman, 1990, "Finding structure in time".

    >>> import fastk
    >>> cell = fastk.layers.SimpleRNNCell(4)
    >>> cell(fastk.ops.ones((2, 3)), cell.get_initial_state(2))[0].shape
    torch.Size([2, 4])
    """

    gates = 1
    state_count = 1

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        """The output for one step, and the new states."""
        nested = tree.is_nested(states)
        state = states[0] if nested else states
        output, new_states = autograd.simple_rnn_cell(sequence, state, **self._op_arguments(sequence, training))
        return output, new_states if nested else output

    def _whole_sequence(self, inputs: Any, states: Any, training: bool | None, fused: bool, **options: Any) -> Result:
        arguments = self._op_arguments(inputs, training, fused)
        return autograd.simple_rnn(inputs, initial_state=None if states is None else states[0], **arguments, **options)


class SimpleRNN(CellLayer):
    """A fully connected recurrent layer: the output of a step is fed back into the next.

    Args:
        units to bias_regularizer: as of `SimpleRNNCell`.
        activity_regularizer: a penalty of the output.
        kernel_constraint to recurrent_dropout: as of `SimpleRNNCell`.
        return_sequences, return_state, go_backwards, stateful, unroll: as of `RNN`.
        seed: as of `SimpleRNNCell`.
        **kwargs: `zero_output_for_mask`, as of `RNN`, and what all layers take.

    Input `(batch, steps, K)`, output `(batch, units)` or `(batch, steps, units)`; the state is the last output.

    >>> import fastk
    >>> fastk.layers.SimpleRNN(4)(fastk.ops.ones((2, 5, 3))).shape
    torch.Size([2, 4])
    """

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        cell = SimpleRNNCell(
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
            name="simple_rnn_cell",
            **cell_arguments(kwargs),
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; `seed` is not among them, as in Keras's files."""
        return {name: value for name, value in super().get_config().items() if name != "seed"}
