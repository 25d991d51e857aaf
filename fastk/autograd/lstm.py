"""Long short-term memory, whole sequences and single steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.autograd.checks import check_vector
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
from fastk.kernels.lstm import aten


def lstm(
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    initial_state: Sequence[Tensor] | None = None,
    mask: Tensor | None = None,
    activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid",
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    reverse: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    implementation: str = "auto",
) -> tuple[Tensor | None, Tensor, list[Tensor]]:
    """LSTM (Hochreiter & Schmidhuber 1997) over the steps of x, gates in the order i, f, c, o.

    Args:
        x: [B, T, I], T > 0.
        kernel: [I, 4 H].
        recurrent_kernel: [H, 4 H].
        bias: [4 H], or None.
        initial_state: (h, c), each [B, H]; None for zeros.
        mask: [B, T] bool; where it is False the step leaves output and states as they were.
        activation: of the candidate and the output: a name of `kernels.activation`, a function, or None for linear.
        recurrent_activation: of the gates, likewise.
        dropout_mask: [B, I], or [4, B, I] with one for each gate: factors of x at every step.
        recurrent_dropout_mask: [B, H], or [4, B, H]: factors of the previous output at every step.
        reverse: take the steps from the last to the first; the outputs come in that order.
        return_sequences: whether the outputs of all steps are wanted.
        zero_output_for_mask: masked steps have output 0.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        (outputs [B, T, H], or None without `return_sequences`; last output [B, H]; [h, c], the final states).

    Raises:
        ValueError: shapes that do not fit, or an unknown activation.

    >>> import torch
    >>> outputs, last, (h, c) = lstm(torch.ones(2, 5, 3), torch.ones(3, 16), torch.ones(4, 16))
    >>> outputs.shape, last.shape, torch.equal(last, h)
    (torch.Size([2, 5, 4]), torch.Size([2, 4]), True)
    """
    check_sequence(x, mask, "lstm")
    units = check_weights(x, kernel, recurrent_kernel, 4, "lstm")
    check_vector(bias, 4 * units, "lstm", "bias")
    states = None if initial_state is None else _two(initial_state, "lstm")
    check_states(states or (), x.size(0), units, "lstm")
    check_factors(dropout_mask, x.size(0), x.size(2), 4, "lstm", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 4, "lstm", "recurrent_dropout_mask")
    arguments = (
        x,
        kernel,
        recurrent_kernel,
        bias,
        states,
        mask,
        known(activation, "lstm"),
        known(recurrent_activation, "lstm"),
        dropout_mask,
        recurrent_dropout_mask,
        reverse,
        return_sequences,
        zero_output_for_mask,
    )
    choice = choose("lstm", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    outputs, h, c = _run(*arguments, choice.implementation)
    shown = last_output(h, mask, states is not None, reverse, zero_output_for_mask)
    return (outputs if return_sequences else None), shown, [h, c]


def lstm_cell(
    x: Tensor,
    states: Sequence[Tensor],
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "tanh",
    recurrent_activation: Activation = "sigmoid",
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, list[Tensor]]:
    """One step of `lstm`: x [B, I] and states (h, c), each [B, H], give (h, [h, c]).

    >>> import torch
    >>> states = torch.zeros(2, 4), torch.zeros(2, 4)
    >>> output, (h, c) = lstm_cell(torch.ones(2, 3), states, torch.ones(3, 16), torch.ones(4, 16))
    >>> output.shape
    torch.Size([2, 4])
    """
    units = check_weights(x, kernel, recurrent_kernel, 4, "lstm_cell")
    check_vector(bias, 4 * units, "lstm_cell", "bias")
    h, c = _two(states, "lstm_cell")
    check_states((h, c), x.size(0), units, "lstm_cell")
    check_factors(dropout_mask, x.size(0), x.size(1), 4, "lstm_cell", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 4, "lstm_cell", "recurrent_dropout_mask")
    acts = known(activation, "lstm_cell"), known(recurrent_activation, "lstm_cell")
    arguments = (x, h, c, kernel, recurrent_kernel, bias, *acts, dropout_mask, recurrent_dropout_mask)
    choice = choose("lstm_cell", implementation, x, arguments)
    if choice.implementation == "aten":
        return choice.function(*arguments)
    x = x.unsqueeze(1)
    factors = dropout_mask, recurrent_dropout_mask
    call = (x, kernel, recurrent_kernel, bias, (h, c), None, *acts, *factors, False, False, False)
    _, h, c = _run(*call, choice.implementation)
    return h, [h, c]


def _two(states: Sequence[Tensor], op: str) -> tuple[Tensor, Tensor]:
    if len(states) != 2:
        raise ValueError(f"{op} has two states, (h, c). Received {len(states)}.")
    return states[0], states[1]


# ---------------------------------------------------------------- the kernels as one differentiable op


def _run(
    x,
    kernel,
    recurrent_kernel,
    bias,
    states,
    mask,
    activation,
    recurrent_activation,
    dropout_mask,
    recurrent_dropout_mask,
    reverse,
    return_sequences,
    zero_output_for_mask,
    implementation,
) -> tuple[Tensor, Tensor, Tensor]:
    """(outputs, h, c), in autocast's type where that is on; what backward needs is kept where it can be asked for."""
    tensors = autocast(x, kernel, recurrent_kernel, bias, *(states or (None, None)))
    factors = tuple(
        None if factor is None else factor.to(tensors[0].dtype) for factor in (dropout_mask, recurrent_dropout_mask)
    )
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    names = activation, recurrent_activation
    flags = reverse, return_sequences, zero_output_for_mask, save
    return _lstm(*tensors, mask, *names, *factors, *flags, implementation)


def _forward_shapes(x, kernel, recurrent_kernel, *others):
    return_sequences, _, save = others[-3:]
    units = recurrent_kernel.size(0)
    sequence, state = (*x.shape[:2], units), (x.size(0), units)
    kept = [
        x.new_empty((*x.shape[:2], 4 * units) if save else 0),
        *(x.new_empty(sequence if save else 0) for _ in "ch"),
    ]
    return x.new_empty(sequence if return_sequences else 0), x.new_empty(state), x.new_empty(state), *kept


def _backward_shapes(g_outputs, g_h, g_c, x, kernel, recurrent_kernel, *others):
    units = recurrent_kernel.size(0)
    shapes = x.shape, kernel.shape, recurrent_kernel.shape, (4 * units,), (x.size(0), units), (x.size(0), units)
    return tuple(x.new_empty(shape if need else 0) for shape, need in zip(shapes, others[-1], strict=True))


def _gradients(call: Call, g_outputs: Tensor | None, g_h: Tensor | None, g_c: Tensor | None) -> Sequence[Tensor | None]:
    x, kernel, recurrent_kernel, _, _, c_0, mask, *options, reverse, sequences, zero, _, implementation = call.arguments
    tensors = g_outputs if sequences else None, g_h, g_c, x, kernel, recurrent_kernel, c_0, mask, *call.outputs[3:]
    needed = call.needed[:6]
    found = _backward(*tensors, *options, reverse, zero, needed, implementation)
    return [gradient if need else None for gradient, need in zip(found, needed, strict=True)]


def _by_aten(x, kernel, recurrent_kernel, bias, h_0, c_0, *others):
    states = None if h_0 is None else (h_0, c_0)
    outputs, _, (h, c) = aten.lstm(x, kernel, recurrent_kernel, bias, states, *others[:-1])
    return outputs, h, c


_forward = define(
    "lstm_forward(Tensor x, Tensor kernel, Tensor recurrent_kernel, Tensor? bias, Tensor? h_0, Tensor? c_0,"
    " Tensor? mask, str activation, str recurrent_activation, Tensor? dropout_mask, Tensor? recurrent_dropout_mask,"
    " bool reverse, bool return_sequences, bool zero_output_for_mask, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward_shapes,
)
_backward = define(
    "lstm_backward(Tensor? g_outputs, Tensor? g_h, Tensor? g_c, Tensor x, Tensor kernel, Tensor recurrent_kernel,"
    " Tensor? c_0, Tensor? mask, Tensor gates, Tensor cells, Tensor previous, str activation, str recurrent_activation,"
    " Tensor? dropout_mask, Tensor? recurrent_dropout_mask, bool reverse, bool zero_output_for_mask, bool[] needed)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward_shapes,
)
_lstm = differentiate(_forward, _gradients, _by_aten, results=3)


contested("lstm", "lstm", lstm)
