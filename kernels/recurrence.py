"""What the recurrent ops share: the projections, the loop over time, and the treatment of masked steps.

A masked step (mask False) leaves output and states as they were; before the first unmasked step the output is 0,
whatever the initial state. With `zero_output_for_mask` the output of every masked step is 0 instead.

Two ways around the masked steps. The loop takes the old states back with `where`. A fused kernel, which knows no
masks, runs on `Compact` sequences: the unmasked steps moved to the front, as if the others had never been there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from fastk.kernels.activation.aten import ACTIVATIONS

Activation = str | Callable[[Tensor], Tensor]


def as_function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The function behind an activation's name; a function is itself."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


def arrange(x: Tensor, mask: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor | None]:
    """x and mask in the order of the steps, with masked steps 0: whatever stands there reaches no gradient."""
    if mask is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    if not reverse:
        return x, mask
    return x.flip(1), None if mask is None else mask.flip(1)


def gate_products(x: Tensor, kernel: Tensor, mask: Tensor | None) -> Tensor:
    """(x mask) kernel: x [..., B, K], kernel [K, G N], mask [B, K], or [G, B, K] with one for each of G gates."""
    if mask is None:
        return x @ kernel
    if mask.dim() == 2:
        return (x * mask) @ kernel
    gates = mask.size(0)
    products = (x.unsqueeze(-3) * mask) @ kernel.unflatten(1, (gates, -1)).transpose(0, 1)  # [..., G, B, N]
    return products.transpose(-3, -2).flatten(-2)


def project(x: Tensor, kernel: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """(x mask) kernel + bias for all steps at once: x [B, T, I] gives [T, B, G N], x [B, I] gives [B, G N]."""
    if x.dim() == 3:
        x = x.transpose(0, 1)
    if mask is None and bias is not None:  # one GEMM, the bias in it
        return torch.addmm(bias, x.reshape(-1, x.size(-1)), kernel).view(*x.shape[:-1], kernel.size(1))
    products = gate_products(x, kernel, mask)
    return products if bias is None else products + bias


def recur(projected: Tensor, h: Tensor, kernel: Tensor, mask: Tensor | None) -> Tensor:
    """projected + (h mask) kernel, for one step."""
    if mask is None:
        return torch.addmm(projected, h, kernel)
    return projected + gate_products(h, kernel, mask)


def scan(
    step: Callable[..., tuple[Tensor, ...]],
    inputs: Iterable[tuple[Tensor, ...]],
    states: tuple[Tensor, ...],
    mask: Tensor | None,
    return_sequences: bool,
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """`states = step(*inputs[t], *states)` over t: the first state after each step [B, T, H], and the last states.

    mask: [B, T] bool; where it is False the states of the step before are taken back.
    """
    keeps = None if mask is None else mask.t().unsqueeze(-1).unbind(0)
    sequence = []
    for t, values in enumerate(inputs):
        new = step(*values, *states)
        states = new if keeps is None else tuple(map(torch.where, [keeps[t]] * len(new), new, states))
        if return_sequences:
            sequence.append(states[0])
    return (torch.stack(sequence, 1) if return_sequences else None), states


def outputs(
    sequence: Tensor | None, last: Tensor, mask: Tensor | None, started_at_zero: bool, zero_output_for_mask: bool
) -> tuple[Tensor | None, Tensor]:
    """The outputs that go with a loop's states: [B, T, H] or None, and the last one [B, H]."""
    if mask is None or (started_at_zero and not zero_output_for_mask):
        return sequence, last
    shown = mask if zero_output_for_mask else mask.cumsum(1) > 0
    last = torch.where(shown[:, -1:], last, 0.0)
    return (None if sequence is None else torch.where(shown.unsqueeze(-1), sequence, 0.0)), last


class Compact(NamedTuple):
    """Sequences whose unmasked steps come first. `padding` [B, T] marks the rest, where `x` is 0."""

    x: Tensor
    padding: Tensor
    mask: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, x: Tensor, mask: Tensor) -> Compact:
        """Of x [B, T, I], 0 where mask [B, T] is False."""
        lengths = mask.sum(1)
        padding = torch.arange(mask.size(1), device=mask.device) >= lengths.unsqueeze(1)
        order = torch.sort(mask.to(torch.uint8), dim=1, descending=True, stable=True).indices
        return cls(_take_steps(x, order), padding, mask, lengths)

    def final_state(self, outputs: Tensor, initial: Tensor) -> Tensor:
        """The output of each row's last unmasked step, [B, H]; `initial` for a row without any."""
        last = _take_steps(outputs, (self.lengths - 1).clamp_min(0).unsqueeze(1)).squeeze(1)
        return torch.where((self.lengths > 0).unsqueeze(1), last, initial)

    def spread(self, outputs: Tensor, zero_output_for_mask: bool) -> Tensor:
        """`outputs` [B, T, H] of the compact sequences, each put back at its own step."""
        seen = self.mask.cumsum(1)
        shown = self.mask if zero_output_for_mask else seen > 0
        return torch.where(shown.unsqueeze(-1), _take_steps(outputs, (seen - 1).clamp_min(0)), 0.0)

    def last_output(self, final_state: Tensor, zero_output_for_mask: bool) -> Tensor:
        """What a loop's last output would be, [B, H]."""
        shown = self.mask[:, -1] if zero_output_for_mask else self.lengths > 0
        return torch.where(shown.unsqueeze(1), final_state, 0.0)


def _take_steps(x: Tensor, steps: Tensor) -> Tensor:
    """x[b, steps[b, t]]: whole rows are copied, which index_select does faster than gather."""
    batch, length, size = x.shape
    rows = steps + torch.arange(0, batch * length, length, device=steps.device).unsqueeze(1)
    return x.reshape(batch * length, size).index_select(0, rows.flatten()).view(batch, steps.size(1), size)
