"""The simple recurrent network, whole sequences and single steps."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_vector
from fastk.autograd.recurrent import Activation, check_factors, check_sequence, check_states, check_weights, known
from fastk.dispatch import choose


def simple_rnn(
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    initial_state: Tensor | None = None,
    mask: Tensor | None = None,
    activation: Activation = "tanh",
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    reverse: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    implementation: str = "auto",
) -> tuple[Tensor | None, Tensor, list[Tensor]]:
    """h = activation(x kernel + h recurrent_kernel + bias) over the steps of x (Elman 1990).

    Args:
        x: [B, T, I], T > 0.
        kernel: [I, H].
        recurrent_kernel: [H, H].
        bias: [H], or None.
        initial_state: [B, H]; None for zeros.
        mask: [B, T] bool; where it is False the step leaves output and state as they were.
        activation: a name of `kernels.activation`, a function, or None for linear.
        dropout_mask: [B, I]: factors of x at every step.
        recurrent_dropout_mask: [B, H]: factors of the previous output at every step.
        reverse: take the steps from the last to the first; the outputs come in that order.
        return_sequences: whether the outputs of all steps are wanted.
        zero_output_for_mask: masked steps have output 0.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        (outputs [B, T, H], or None without `return_sequences`; last output [B, H]; [h], the final state).

    Raises:
        ValueError: shapes that do not fit, or an unknown activation.

    >>> import torch
    >>> outputs, last, (h,) = simple_rnn(torch.ones(1, 3, 1), torch.ones(1, 1), torch.ones(1, 1), activation=None)
    >>> outputs.flatten()
    tensor([1., 2., 3.])
    """
    check_sequence(x, mask, "simple_rnn")
    units = check_weights(x, kernel, recurrent_kernel, 1, "simple_rnn")
    check_vector(bias, units, "simple_rnn", "bias")
    check_states(() if initial_state is None else (initial_state,), x.size(0), units, "simple_rnn")
    check_factors(dropout_mask, x.size(0), x.size(2), 1, "simple_rnn", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 1, "simple_rnn", "recurrent_dropout_mask")
    arguments = (
        x,
        kernel,
        recurrent_kernel,
        bias,
        initial_state,
        mask,
        known(activation, "simple_rnn"),
        dropout_mask,
        recurrent_dropout_mask,
        reverse,
        return_sequences,
        zero_output_for_mask,
    )
    return choose("simple_rnn", implementation, x, arguments).function(*arguments)


def simple_rnn_cell(
    x: Tensor,
    state: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "tanh",
    dropout_mask: Tensor | None = None,
    recurrent_dropout_mask: Tensor | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, list[Tensor]]:
    """One step of `simple_rnn`: x [B, I] and the state [B, H] give (h, [h]).

    >>> import torch
    >>> simple_rnn_cell(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), activation=None)[0]
    tensor([[2.]])
    """
    units = check_weights(x, kernel, recurrent_kernel, 1, "simple_rnn_cell")
    check_vector(bias, units, "simple_rnn_cell", "bias")
    check_states((state,), x.size(0), units, "simple_rnn_cell")
    check_factors(dropout_mask, x.size(0), x.size(1), 1, "simple_rnn_cell", "dropout_mask")
    check_factors(recurrent_dropout_mask, x.size(0), units, 1, "simple_rnn_cell", "recurrent_dropout_mask")
    act = known(activation, "simple_rnn_cell")
    arguments = (x, state, kernel, recurrent_kernel, bias, act, dropout_mask, recurrent_dropout_mask)
    return choose("simple_rnn_cell", implementation, x, arguments).function(*arguments)
