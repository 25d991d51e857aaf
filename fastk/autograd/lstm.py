"""Long short-term memory, whole sequences and single steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.autograd.checks import check_vector
from fastk.autograd.recurrent import Activation, check_factors, check_sequence, check_states, check_weights, known
from fastk.dispatch import choose


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
    return choose("lstm", implementation, x, arguments).function(*arguments)


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
    return choose("lstm_cell", implementation, x, arguments).function(*arguments)


def _two(states: Sequence[Tensor], op: str) -> tuple[Tensor, Tensor]:
    if len(states) != 2:
        raise ValueError(f"{op} has two states, (h, c). Received {len(states)}.")
    return states[0], states[1]
