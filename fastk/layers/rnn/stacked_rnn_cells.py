"""`StackedRNNCells`: cells on top of each other as one cell."""

from __future__ import annotations

from typing import Any

from fastk import dtypes, tree
from fastk.layers.layer import Layer
from fastk.layers.rnn.cell import zero_states
from fastk.layers.rnn.steps import Result, whole_sequence
from fastk.serialization import deserialize_keras_object, serialize_keras_object


class StackedRNNCells(Layer):
    """A stack of cells: each takes the output of the one before it.

    Args:
        cells: the cells, from the input to the output; its states are those of each, in this order.

    >>> import fastk
    >>> cell = fastk.layers.StackedRNNCells([fastk.layers.LSTMCell(8), fastk.layers.GRUCell(4)])
    >>> fastk.layers.RNN(cell)(fastk.ops.ones((2, 5, 3))).shape
    torch.Size([2, 4])
    """

    def __init__(self, cells: Any, **kwargs: Any):
        super().__init__(**kwargs)
        for cell in cells:
            check_cell(cell, "Each of `cells`")
        self.cells: list[Any] = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """The initial states of each cell; zeros for cells that do not say."""
        return [
            cell.get_initial_state(batch_size=batch_size)
            if hasattr(cell, "get_initial_state")
            else zero_states(cell.state_size, batch_size, dtypes.to_torch_dtype(self.compute_dtype))
            for cell in self.cells
        ]

    def build(self, input_shape: Any) -> None:
        """Builds each cell on the output of the one before it."""
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (input_shape[0], output_size(cell))

    def call(self, inputs: Any, states: Any, training: bool = False, **kwargs: Any) -> Any:
        """One step through all cells: the last one's output, and the new states of each."""
        new_states = []
        for cell, state in zip(self.cells, states, strict=True):
            nested = tree.is_nested(state)
            if isinstance(cell, Layer) and cell._call_has_training:
                kwargs["training"] = training
            else:
                kwargs.pop("training", None)
            call: Any = cell if callable(cell) else cell.call
            inputs, new = call(inputs, list(state) if nested else [state], **kwargs)
            new_states.append(new if nested or not tree.is_nested(new) else new[0])
        return inputs, new_states

    def _whole_sequence(
        self,
        inputs: Any,
        states: Any,
        mask: Any,
        reverse: bool,
        return_sequences: bool,
        zero_output_for_mask: bool,
        **options: Any,
    ) -> Result:
        """All steps of one cell after another: what a cell gives for masked steps is masked for the next one too."""
        outputs: Any = inputs
        last, new_states = inputs, []
        for i, cell in enumerate(self.cells):
            final = i == len(self.cells) - 1
            given = None if states is None else states[i]
            nested = given is None or tree.is_nested(given)
            outputs, last, new = whole_sequence(
                cell,
                outputs,
                given if nested else [given],
                mask=mask,
                reverse=reverse,
                return_sequences=return_sequences or not final,
                zero_output_for_mask=zero_output_for_mask and final,
                **options,
            )
            new_states.append(new if nested else new[0])
            if reverse:  # the outputs are in the order of the steps taken
                reverse, mask = False, None if mask is None else mask.flip(1)
        return outputs, last, new_states

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "cells": [serialize_keras_object(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A stack from `get_config`'s result."""
        config = dict(config)
        cells = [deserialize_keras_object(cell, custom_objects=custom_objects) for cell in config.pop("cells")]
        return cls(cells, **config)


def check_cell(cell: Any, what: str) -> None:
    """Raises `ValueError` unless `cell` has what a cell must have."""
    for attribute, meaning in (
        ("call", "method `call(inputs, states)`"),
        ("state_size", "`state_size` attribute (an integer, or a list of integers, one per state)"),
    ):
        if not hasattr(cell, attribute):
            raise ValueError(f"{what} should have a {meaning}. Received: {cell}")


def output_size(cell: Any) -> Any:
    """The size of a cell's output: that of its first state, where it does not say."""
    size = getattr(cell, "output_size", None)
    if size is None:
        size = cell.state_size
    return size[0] if isinstance(size, (list, tuple)) else size
