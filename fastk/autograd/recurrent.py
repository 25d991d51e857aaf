"""The checks that the recurrent ops share, and the words for what they have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastk.autograd.checks import check_activation, check_rank

Activation = str | Callable[[Tensor], Tensor] | None


def known(activation: Activation, op: str) -> str | Callable[[Tensor], Tensor]:
    """The activation as a name or a function; None is linear."""
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        check_activation(activation, op)
    return activation


def check_sequence(x: Tensor, mask: Tensor | None, op: str) -> None:
    """x [B, T, I] with T > 0, mask None or [B, T] bool."""
    check_rank(x, 3, "[B, T, I]", op)
    if x.size(1) == 0:
        raise ValueError(f"{op} needs at least one step. Received x of shape {tuple(x.shape)}.")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:2]):
        raise ValueError(
            f"{op} expects `mask` of shape [B, T] and dtype torch.bool. Received shape {tuple(mask.shape)} and dtype "
            f"{mask.dtype} for x of shape {tuple(x.shape)}."
        )


def check_weights(x: Tensor, kernel: Tensor, recurrent_kernel: Tensor, gates: int, op: str) -> int:
    """kernel [I, gates * H], recurrent_kernel [H, gates * H]; returns H."""
    units = recurrent_kernel.size(0) if recurrent_kernel.dim() == 2 else -1
    inputs = x.size(-1)
    if tuple(kernel.shape) != (inputs, gates * units) or recurrent_kernel.size(1) != gates * units:
        columns = "H" if gates == 1 else f"{gates} * H"
        raise ValueError(
            f"{op} expects kernel [I, {columns}] and recurrent_kernel [H, {columns}]. Received kernel of shape "
            f"{tuple(kernel.shape)} and recurrent_kernel of shape {tuple(recurrent_kernel.shape)} for x of shape "
            f"{tuple(x.shape)}."
        )
    return units


def check_states(states: tuple[Tensor, ...], batch: int, units: int, op: str) -> None:
    """Each state [B, H]."""
    for state in states:
        if tuple(state.shape) != (batch, units):
            raise ValueError(f"{op} expects states of shape {(batch, units)}. Received shape {tuple(state.shape)}.")


def check_factors(mask: Tensor | None, batch: int, size: int, gates: int, op: str, name: str) -> None:
    """A dropout mask: None, [B, size], or [gates, B, size]."""
    if mask is None:
        return
    shapes = [(batch, size)] + ([(gates, batch, size)] if gates > 1 else [])
    if tuple(mask.shape) not in shapes:
        raise ValueError(
            f"{op} expects `{name}` of shape {' or '.join(map(str, shapes))}. Received shape {tuple(mask.shape)}."
        )


def last_output(h: Tensor, mask: Tensor | None, has_state: bool, reverse: bool, zero_output_for_mask: bool) -> Tensor:
    """The last output, from the last state h [B, H]: see `kernels.recurrence`."""
    if mask is None or not (has_state or zero_output_for_mask):
        return h
    shown = mask[:, 0 if reverse else -1] if zero_output_for_mask else mask.any(1)
    return torch.where(shown.unsqueeze(1), h, 0.0)
