"""Gated recurrent units, whole sequences and single steps."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.recurrent import Activation, check_factors, check_sequence, check_states, check_weights, known
from fastk.dispatch import choose


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
    return choose("gru", implementation, x, arguments).function(*arguments)


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
    arguments = (x, state, kernel, recurrent_kernel, bias, *acts, reset_after, dropout_mask, recurrent_dropout_mask)
    return choose("gru_cell", implementation, x, arguments).function(*arguments)


def _check_bias(bias: Tensor | None, units: int, reset_after: bool, op: str) -> None:
    shape = (2, 3 * units) if reset_after else (3 * units,)
    if bias is not None and tuple(bias.shape) != shape:
        raise ValueError(
            f"{op} with reset_after={reset_after} expects `bias` of shape {shape}. Received shape {tuple(bias.shape)}."
        )
