"""Gated recurrent units, whole sequences and single steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.autograd.library import Call, autocast, define, differentiate
from fastk.autograd.recurrent import (
    Activation,
    check_factors,
    check_sequence,
    check_states,
    check_weights,
    known,
    last_output,
)
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.gru import aten
from fastk.kernels.recurrence import as_function


def gru(
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    initial_state: Tensor | None = None,
    mask: Tensor | None = None,
    activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid",
    reset_after: bool = True,
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    reverse: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    implementation: str = "auto",
) -> tuple[Tensor | None, Tensor, list[Tensor]]:
    """GRU (Cho et al. 2014) over the steps of x, gates in the order z, r, h.

    Args:
        x: [B, T, I], T > 0.
        kernel: [I, 3 H].
        recurrent_kernel: [H, 3 H].
        bias: with `reset_after` [2, 3 H], the input's and the recurrent one; without [3 H]; or None.
        initial_state: [B, H]; None for zeros.
        mask: [B, T] bool; where it is False the step leaves output and state as they were.
        activation: of the candidate: a name of `kernels.activation`, a function, or None for linear.
        recurrent_activation: of the gates, likewise.
        reset_after: whether the reset gate is applied after the product with the recurrent kernel, or before.
        dropout_mask: [B, I], or [3, B, I] with one for each gate: factors of x at every step.
        recurrent_dropout_mask: [B, H], or [3, B, H]: factors of the previous output at every step.
        reverse: take the steps from the last to the first; the outputs come in that order.
        return_sequences: whether the outputs of all steps are wanted.
        zero_output_for_mask: masked steps have output 0.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        (outputs [B, T, H], or None without `return_sequences`; last output [B, H]; [h], the final state).

    Raises:
        ValueError: shapes that do not fit, or an unknown activation.

    >>> import torch
    >>> outputs, last, (h,) = gru(torch.ones(2, 5, 3), torch.ones(3, 12), torch.ones(4, 12), return_sequences=False)
    >>> outputs, last.shape
    (None, torch.Size([2, 4]))
    """
    check_sequence(x, mask, "gru")
    units = check_weights(x, kernel, recurrent_kernel, 3, "gru")
    _check_bias(bias, units, reset_after, "gru")
    check_states(() if initial_state is None else (initial_state,), x.size(0), units, "gru")
    check_factors(dropout_mask, x.size(0), x.size(2), 3, "gru", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 3, "gru", "recurrent_dropout_mask")
    x, kernel, recurrent_kernel, bias, initial_state, dropout_mask, recurrent_dropout_mask = autocast(
        x, kernel, recurrent_kernel, bias, initial_state, dropout_mask, recurrent_dropout_mask
    )
    arguments = (
        x,
        kernel,
        recurrent_kernel,
        bias,
        initial_state,
        mask,
        known(activation, "gru"),
        known(recurrent_activation, "gru"),
        reset_after,
        dropout_mask,
        recurrent_dropout_mask,
        reverse,
        return_sequences,
        zero_output_for_mask,
    )
    choice = choose("gru", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    outputs, h = _run(*arguments, choice.implementation)
    shown = last_output(h, mask, initial_state is not None, reverse, zero_output_for_mask)
    return (outputs if return_sequences else None), shown, [h]


def gru_cell(
    x: Tensor,
    state: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid",
    reset_after: bool = True,
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, list[Tensor]]:
    """One step of `gru`: x [B, I] and the state [B, H] give (h, [h]).

    >>> import torch
    >>> gru_cell(torch.ones(2, 3), torch.zeros(2, 4), torch.ones(3, 12), torch.ones(4, 12))[0].shape
    torch.Size([2, 4])
    """
    units = check_weights(x, kernel, recurrent_kernel, 3, "gru_cell")
    _check_bias(bias, units, reset_after, "gru_cell")
    check_states((state,), x.size(0), units, "gru_cell")
    check_factors(dropout_mask, x.size(0), x.size(1), 3, "gru_cell", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 3, "gru_cell", "recurrent_dropout_mask")
    acts = known(activation, "gru_cell"), known(recurrent_activation, "gru_cell")
    x, state, kernel, recurrent_kernel, bias, dropout_mask, recurrent_dropout_mask = autocast(
        x, state, kernel, recurrent_kernel, bias, dropout_mask, recurrent_dropout_mask
    )
    factors = dropout_mask, recurrent_dropout_mask
    arguments = (x, state, kernel, recurrent_kernel, bias, *acts, reset_after, *factors)
    choice = choose("gru_cell", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    x = x.unsqueeze(1)
    call = (x, kernel, recurrent_kernel, bias, state, None, *acts, reset_after, *factors, False, False, False)
    _, h = _run(*call, choice.implementation)
    return h, [h]


def _check_bias(bias: Tensor | None, units: int, reset_after: bool, op: str) -> None:
    shape = (2, 3 * units) if reset_after else (3 * units,)
    if bias is not None and tuple(bias.shape) != shape:
        raise ValueError(
            f"{op} with reset_after={reset_after} expects `bias` of shape {shape}. Received shape {tuple(bias.shape)}."
        )


# ---------------------------------------------------------------- the kernels as one differentiable op


def _run(
    x,
    kernel,
    recurrent_kernel,
    bias,
    initial_state,
    mask,
    activation,
    recurrent_activation,
    reset_after,
    dropout_mask,
    recurrent_dropout_mask,
    reverse,
    return_sequences,
    zero_output_for_mask,
    implementation,
) -> tuple[Tensor, Tensor]:
    """(outputs, h); what backward needs is kept where it can be asked for."""
    tensors = x, kernel, recurrent_kernel, bias, initial_state
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    options = activation, recurrent_activation, reset_after, dropout_mask, recurrent_dropout_mask
    flags = reverse, return_sequences, zero_output_for_mask, save
    return _gru(*tensors, mask, *options, *flags, implementation)


def _forward_shapes(x, kernel, recurrent_kernel, *others):
    return_sequences, _, save = others[-3:]
    units = recurrent_kernel.size(0)
    sequence = (*x.shape[:2], units)
    kept = (*x.shape[:2], 3 * units), sequence, sequence
    outputs = x.new_empty(sequence if return_sequences else 0), x.new_empty(x.size(0), units)
    return *outputs, *(x.new_empty(shape if save else 0) for shape in kept)


def _backward_shapes(g_outputs, g_h, x, kernel, recurrent_kernel, *others):
    units, reset_after, needed = recurrent_kernel.size(0), others[6], others[-1]
    bias = (2, 3 * units) if reset_after else (3 * units,)
    shapes = x.shape, kernel.shape, recurrent_kernel.shape, bias, (x.size(0), units)
    return tuple(x.new_empty(shape if need else 0) for shape, need in zip(shapes, needed, strict=True))


def _gradients(call: Call, g_outputs: Tensor | None, g_h: Tensor | None) -> Sequence[Tensor | None]:
    x, kernel, recurrent_kernel, _, h_0, mask, *options, reverse, sequences, zero, _, implementation = call.arguments
    tensors = g_outputs if sequences else None, g_h, x, kernel, recurrent_kernel, mask, *call.outputs[2:]
    needed = call.needed[:5]
    found = _backward(*tensors, *options, reverse, zero, h_0 is not None, needed, implementation)
    return [gradient if need else None for gradient, need in zip(found, needed, strict=True)]


def _by_aten(x, kernel, recurrent_kernel, bias, h_0, mask, activation, recurrent_activation, *others):
    functions = as_function(activation), as_function(recurrent_activation)  # by name it has one derivative and no more
    outputs, _, (h,) = aten.gru(x, kernel, recurrent_kernel, bias, h_0, mask, *functions, *others[:-1])
    return outputs, h


_forward = define(
    "gru_forward(Tensor x, Tensor kernel, Tensor recurrent_kernel, Tensor? bias, Tensor? h_0, Tensor? mask,"
    " str activation, str recurrent_activation, bool reset_after, Tensor? dropout_mask, Tensor? recurrent_dropout_mask,"
    " bool reverse, bool return_sequences, bool zero_output_for_mask, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "gru_backward(Tensor? g_outputs, Tensor? g_h, Tensor x, Tensor kernel, Tensor recurrent_kernel, Tensor? mask,"
    " Tensor gates, Tensor inner, Tensor previous, str activation, str recurrent_activation, bool reset_after,"
    " Tensor? dropout_mask, Tensor? recurrent_dropout_mask, bool reverse, bool zero_output_for_mask, bool has_state,"
    " bool[] needed) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward_shapes,
)
_gru = differentiate(_forward, _gradients, _by_aten, results=2)


contested("gru", "gru", gru)
