"""`RNN`: a cell applied to every step of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastk import dtypes, tree
from fastk.layers.layer import Layer
from fastk.layers.rnn.cell import RecurrentCell, zero_states
from fastk.layers.rnn.dropout import forget_masks
from fastk.layers.rnn.stacked_rnn_cells import StackedRNNCells, check_cell, output_size
from fastk.layers.rnn.steps import Result, has_whole_sequence, step_by_step, whole_sequence
from fastk.naming import name_scope
from fastk.scopes import state
from fastk.serialization import deserialize_keras_object, serialize_keras_object
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable


class RNN(Layer):
    """Runs a cell over the steps of a sequence.

    LSTM, GRU and simple RNN cells, and stacks of them, are run by one op for the whole sequence; any other cell, and a
    subclass of these with a `call` of its own, step by step.

    Args:
        cell: a cell, or a list of cells that are stacked. A cell has `call(inputs, states)`, which returns the output
            and the list of new states, `state_size` (an integer, or a list with one for each state), and may have
            `output_size` (by default the first state's) and `get_initial_state(batch_size)` (by default zeros).
        return_sequences: whether the outputs of all steps are returned, or the last one.
        return_state: whether the final states are returned too.
        go_backwards: take the steps from the last to the first; outputs come in that order.
        stateful: start from the states that the last batch ended with. The batch size must be fixed; `reset_state()`
            sets the states to zero.
        unroll: the number of steps must be fixed. A loop over steps is always unrolled here: nothing else changes.
        zero_output_for_mask: masked steps have output 0, not that of the step before.

    Call arguments:
        sequences: `(batch, steps, ...)`.
        initial_state: one tensor for each state, nested as the cell's `state_size`; zeros by default.
        mask: `(batch, steps)`; a step where it is False leaves output and states as they were.
        training: given to the cell.

    Returns `(batch, output_size)` or `(batch, steps, output_size)`; with `return_state` a tuple of that and the states.

    >>> import fastk
    >>> x = fastk.ops.ones((2, 5, 3))
    >>> outputs, h, c = fastk.layers.RNN(fastk.layers.LSTMCell(4), return_sequences=True, return_state=True)(x)
    >>> outputs.shape, h.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        check_cell(cell, "Argument `cell`")
        state_size = cell.state_size
        if not isinstance(state_size, (list, tuple, int)):
            raise ValueError(
                "state_size must be an integer, or a list/tuple of integers (one for each state tensor). "
                f"Received: cell.state_size={state_size}"
            )
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.state_size = [state_size] if isinstance(state_size, int) else list(state_size)
        self.states = None
        self._whole = has_whole_sequence(cell)
        zeros = (RecurrentCell.get_initial_state, StackedRNNCells.get_initial_state)
        cells = [cell, *getattr(cell, "cells", ())]
        self._starts_at_zero = self._whole and all(type(one).get_initial_state in zeros for one in cells)
        self._makes_masks = False  # the outputs' masks are the input's

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the cell on the shape of a step, and makes the states of a stateful layer."""
        if self.unroll and sequences_shape[1] is None:
            raise ValueError(
                "Cannot unroll a RNN if the number of steps is not known: give it in the `shape` or `batch_shape` of "
                f"the `Input`, or pass unroll=False. Received: sequences_shape={sequences_shape}"
            )
        cell = self.cell
        if isinstance(cell, Layer) and not cell.built:
            cell.build((sequences_shape[0], *sequences_shape[2:]))
            cell.built = True
        if self.states is not None:
            self.reset_state()
        elif self.stateful:
            self._make_states(sequences_shape)

    def _make_states(self, sequences_shape: Any) -> None:
        batch_size = sequences_shape[0]
        if batch_size is None:
            raise ValueError(
                "When using `stateful=True` in a RNN, the batch size must be static: give it in the `batch_shape` of "
                f"the `Input`. Found dynamic batch size: sequences_shape={sequences_shape}"
            )

        def make(value: Tensor) -> Variable:
            return Variable(value, trainable=False, dtype=self.variable_dtype, name="rnn_state")

        with name_scope(self.name, caller=self):
            states = tree.map_structure(make, self.get_initial_state(batch_size))
        # Not tracked: the states belong to the batches seen last, not to what is trained and saved.
        object.__setattr__(self, "states", states)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        for variable in tree.flatten(self.states) if self.states is not None else ():
            variable._value.data = fn(variable._value.data)
        return self

    def get_initial_state(self, batch_size: int | None) -> list[Any]:
        """The cell's initial states, or zeros."""
        if not hasattr(self.cell, "get_initial_state"):
            return zero_states(self.state_size, batch_size, self._cell_dtype())
        states = self.cell.get_initial_state(batch_size=batch_size)
        return list(states) if tree.is_nested(states) else [states]

    def reset_state(self) -> None:
        """Sets the states of a stateful layer to zero."""
        if self.states is not None:
            for variable in tree.flatten(self.states):
                variable.assign(torch.zeros_like(variable.value))

    reset_states = reset_state

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = False) -> Any:
        """The outputs for `sequences`, and the final states with `return_state`."""
        states = self._start(sequences, initial_state)
        try:
            outputs, last, states = self._run_cell(sequences, states, _steps_mask(mask), training)
        finally:
            if training or not self._whole:  # otherwise none were drawn
                forget_masks(self.cell)
        dtype = dtypes.to_torch_dtype(self.compute_dtype)
        if last.dtype is not dtype:
            outputs, last, states = tree.map_structure(
                lambda x: None if x is None else x.to(dtype), (outputs, last, states)
            )
        if self.stateful and not state.symbolic:
            for variable, value in zip(tree.flatten(self.states), tree.flatten(states), strict=True):
                variable.assign(value.detach())
        output = outputs if self.return_sequences else last
        return (output, *states) if self.return_state else output

    def _run_cell(self, sequences: Tensor, states: Any, mask: Tensor | None, training: bool | None) -> Result:
        options = {
            "mask": mask,
            "training": training,
            "reverse": self.go_backwards,
            "return_sequences": self.return_sequences,
            "zero_output_for_mask": self.zero_output_for_mask,
        }
        if self._whole:
            return whole_sequence(self.cell, sequences, states, fused=self._may_fuse(), **options)
        return step_by_step(self.cell, sequences, states, **options)

    def _may_fuse(self) -> bool:
        """Whether one op may take the whole sequence, rather than the steps that it is made of."""
        return True

    def _start(self, sequences: Tensor, initial_state: Any) -> Any:
        """The states to start from; None for the zeros of cells that are run by one op."""
        batch_size = sequences.shape[0]
        if initial_state is None and self.stateful and not state.symbolic:
            expected = tree.flatten(self.states)[0].shape[0]
            if batch_size != expected:
                raise ValueError(
                    "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size "
                    f"of the initial state. \n- Expected batch size: {expected}\n- Received batch size: {batch_size}"
                )
            # Cloned, since the backward pass needs what the assignment at the end overwrites.
            return tree.map_structure(lambda variable: variable.value.clone(), self.states)
        if initial_state is None:
            return None if self._starts_at_zero else self.get_initial_state(batch_size)
        initial_state = list(initial_state) if tree.is_nested(initial_state) else [initial_state]
        if len(initial_state) != len(self.state_size):
            raise ValueError(
                f"`initial_state` must have one entry for each of the {len(self.state_size)} states of the cell. "
                f"Received {len(initial_state)}."
            )
        return tree.map_structure(lambda x: convert_to_tensor(x, dtype=self._cell_dtype()), initial_state)

    def _cell_dtype(self) -> torch.dtype:
        return dtypes.to_torch_dtype((self.cell if isinstance(self.cell, Layer) else self).compute_dtype)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shape of the output, and those of the states with `return_state`."""
        batch_size, steps = sequences_shape[0], sequences_shape[1]
        size = output_size(self.cell)
        output = (batch_size, steps, size) if self.return_sequences else (batch_size, size)
        if not self.return_state:
            return output
        return (
            output,
            *(
                [(batch_size, one) for one in size] if isinstance(size, (list, tuple)) else (batch_size, size)
                for size in self.state_size
            ),
        )

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the inputs for a sequence of outputs; None for a last output and for states."""
        mask = tree.flatten(previous_mask)[0] if self.return_sequences else None
        return [mask, *(None for _ in self.state_size)] if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "cell": serialize_keras_object(self.cell),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A layer from `get_config`'s result."""
        config = dict(config)
        return cls(deserialize_keras_object(config.pop("cell"), custom_objects=custom_objects), **config)


def _steps_mask(mask: Any) -> Tensor | None:
    """`mask` as (batch, steps) bool: the first one of several, without an axis of features."""
    if mask is None or (mask := tree.flatten(mask)[0]) is None:
        return None
    mask = convert_to_tensor(mask, dtype="bool")
    return mask.squeeze(-1) if mask.ndim == 3 else mask
