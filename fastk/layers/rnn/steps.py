"""The two ways through a sequence: a cell's own op for all steps, or the cell step by step."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastk import dtypes, tree
from fastk.layers.layer import Layer

Result = tuple[Tensor | None, Tensor, list[Any]]


def has_whole_sequence(cell: Any) -> bool:
    """Whether `cell` computes all steps at once: where it does, one class defines `call` and `_whole_sequence`.

    A subclass that computes its steps otherwise, in a `call` of its own, goes step by step.
    """
    for cls in type(cell).__mro__:
        if "call" in vars(cls):
            return "_whole_sequence" in vars(cls) and all(map(has_whole_sequence, getattr(cell, "cells", ())))
    return False


def whole_sequence(cell: Any, inputs: Tensor, states: list[Any] | None, **options: Any) -> Result:
    """All steps at once, in the cell's dtype.

    Args:
        cell: one for which `has_whole_sequence` holds.
        inputs: (B, T, K).
        states: the initial states; None is zeros.
        options: `mask`, `training`, `reverse`, `return_sequences`, `zero_output_for_mask`, `fused`.

    Returns:
        (outputs (B, T, N), or None without `return_sequences`; last output; final states).
    """
    dtype = dtypes.to_torch_dtype(cell.compute_dtype)
    states = None if states is None else tree.map_structure(lambda x: x.to(dtype), states)
    with cell._autocast_scope() or contextlib.nullcontext():
        return cell._whole_sequence(inputs.to(dtype), states, **options)


def step_by_step(
    cell: Any,
    inputs: Tensor,
    states: list[Any],
    mask: Tensor | None,
    training: bool | None,
    reverse: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
) -> Result:
    """`cell(inputs[:, t], states)` over t.

    Args:
        cell: anything with `call(inputs, states)`, which returns the output and the new states.
        inputs: (B, T, ...).
        states: the initial states, nested as the cell nests them.
        mask: (B, T) bool. Where it is False the step leaves output and states as they were; before the first True the
            output is 0.
        training: given to a cell that takes it.
        reverse: take the steps from the last to the first; the outputs come in that order.
        return_sequences: whether the outputs of all steps are wanted.
        zero_output_for_mask: masked steps have output 0.

    Returns:
        As `whole_sequence`.
    """
    _check_steps(inputs, mask)
    is_layer = isinstance(cell, Layer)
    if is_layer and cell.autocast and inputs.is_floating_point():
        inputs = inputs.to(dtypes.to_torch_dtype(cell.compute_dtype))
    with (cell._autocast_scope() if is_layer else None) or contextlib.nullcontext():
        return _loop(cell, inputs, states, mask, training, reverse, return_sequences, zero_output_for_mask)


def _loop(
    cell: Any,
    inputs: Tensor,
    states: list[Any],
    mask: Tensor | None,
    training: bool | None,
    reverse: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
) -> Result:
    first, further = _calls(cell, training)
    steps = inputs.unbind(1)
    keeps = (None,) * len(steps) if mask is None else mask.unbind(1)
    if reverse:
        steps, keeps = steps[::-1], keeps[::-1]
    output: Any = None
    outputs = []
    for x, keep in zip(steps, keeps, strict=True):
        before = output
        output, new_states = (first if before is None else further)(x, states)
        new_states = list(new_states) if tree.is_nested(new_states) else [new_states]
        if keep is not None:
            hidden = torch.zeros_like(output) if before is None or zero_output_for_mask else before
            output = _where(keep, output, hidden)
            pairs = zip(tree.flatten(new_states), tree.flatten(states), strict=True)
            new_states = tree.pack_sequence_as(new_states, [_where(keep, new, old) for new, old in pairs])
        states = new_states
        if return_sequences:
            outputs.append(output)
    return (torch.stack(outputs, 1) if return_sequences else None), output, states


def _calls(cell: Any, training: bool | None) -> tuple[Callable, Callable]:
    """How `cell` is called: at the first step as any layer is, then without the checks which that has passed."""
    if not isinstance(cell, Layer):
        call = cell if callable(cell) else cell.call
        return call, call
    options = {"training": training} if cell._call_has_training and training is not None else {}
    first = functools.partial(cell, **options)
    if cell.activity_regularizer is not None:
        return first, first
    return first, functools.partial(torch.nn.Module.__call__, cell, **options)


def _check_steps(inputs: Tensor, mask: Tensor | None) -> None:
    if inputs.ndim < 3 or inputs.shape[1] == 0:
        raise ValueError(
            "An RNN takes sequences (batch, steps, ...) of rank 3 or more, with at least one step. "
            f"Received: shape={tuple(inputs.shape)}"
        )
    if mask is not None and mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"The mask must have the shape (batch, steps), here {tuple(inputs.shape[:2])}. "
            f"Received: shape={tuple(mask.shape)}"
        )


def _where(keep: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(keep.view(-1, *(1,) * (new.ndim - 1)), new, old)
