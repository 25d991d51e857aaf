"""GRU in Triton (Cho et al. 2014; the gates, the layouts and both places of the reset gate are those of `kernels.gru`).

    B sequences, T steps, I inputs, H units

Forward: z = x W + b for all steps, one GEMM; then the scan, which adds h R step by step and applies the cell
(`triton_cell.py`). Backward: the scan in the other direction writes dz [B, T, 3 H], the gradient of x W + b, and with
reset_after du [B, T, H], that of u = h R_h + b'_h; then dx = dz W^T, dW = x^T dz, dR = h^T (dz_z, dz_r, du) and the
sums of dz and du, as GEMMs over all steps. Without reset_after R_h has (r h)^T dz_h.

Saved for backward, [B, T, .] each: the gates 3 H (in the place of z; activated, or before activations whose derivative
wants that), `inner` (u, or r h without reset_after) and `previous`, h before the step.
`docs/ops/gru.md` counts the bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.gru.configurations import (
    BACKWARD,
    FORWARD,
    Configuration,
    CooperativeConfiguration,
    SequenceConfiguration,
    StepConfiguration,
)
from fastk.kernels.gru.triton_cooperative import cooperative_backward, cooperative_forward
from fastk.kernels.gru.triton_sequence import sequence_backward, sequence_forward
from fastk.kernels.gru.triton_step import step_backward, step_forward
from fastk.kernels.recurrence_triton import (
    Scan,
    problem,
    project,
    projection_gradients,
    recurrent_gradient,
    shown_outputs,
)
from fastk.kernels.recurrence_triton import supports as supports  # asked by dispatch


def gru_forward(
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None,
    h_0: Tensor | None,
    mask: Tensor | None,
    activation: str,
    recurrent_activation: str,
    reset_after: bool,
    dropout_mask: Tensor | None,
    recurrent_dropout_mask: Tensor | None,
    reverse: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    save: bool,
    configuration: Configuration | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(outputs, h, gates, inner, previous); outputs empty without return_sequences, the last three without save."""
    batch, steps, _ = x.shape
    units = recurrent_kernel.size(0)
    input_bias, inner_bias = _biases(bias, units, reset_after)
    gates = project(x, kernel, input_bias, dropout_mask)
    outputs = x.new_empty((batch, steps, units) if return_sequences else 0)
    inner, previous = (x.new_empty((batch, steps, units) if save else 0) for _ in range(2))
    shown = shown_outputs(mask, h_0 is not None, zero_output_for_mask)
    scan = Scan.of(recurrent_kernel, mask, recurrent_dropout_mask, activation, recurrent_activation, reverse, shown)
    results = outputs if return_sequences else None, gates, inner if save else None, previous if save else None
    if batch:
        arguments = (scan, reset_after, *results, inner_bias, h_0)
        asked = problem(x, recurrent_kernel, recurrent_dropout_mask)
        h = scan_forward(*arguments, configuration or configuration_for(FORWARD, asked, arguments))
    else:
        h = x.new_empty(0, units)
    return outputs, h, gates if save else x.new_empty(0), inner, previous


def gru_backward(
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    mask: Tensor | None,
    gates: Tensor,
    inner: Tensor,
    previous: Tensor,
    activation: str,
    recurrent_activation: str,
    reset_after: bool,
    dropout_mask: Tensor | None,
    recurrent_dropout_mask: Tensor | None,
    reverse: bool,
    zero_output_for_mask: bool,
    has_state: bool,
    needed: list[bool],
    configuration: Configuration | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, kernel, recurrent_kernel, bias and h_0; those not `needed` are empty."""
    batch, _, units = previous.shape
    shown = shown_outputs(mask, has_state, zero_output_for_mask)
    scan = Scan.of(recurrent_kernel, mask, recurrent_dropout_mask, activation, recurrent_activation, reverse, shown)
    grads = (None if g is None else g.contiguous() for g in (g_outputs, g_h))
    dz, du = torch.empty_like(gates), torch.empty_like(inner) if reset_after else inner
    if batch:
        arguments = (scan, reset_after, dz, du, *grads, gates, inner, previous, needed[4])
        asked = problem(x, recurrent_kernel, recurrent_dropout_mask)
        dh_0 = scan_backward(*arguments, configuration or configuration_for(BACKWARD, asked, arguments))
    else:
        dh_0 = x.new_empty(0, units)
    dx, dkernel, dbias = projection_gradients(dz, x, kernel, mask, dropout_mask, [needed[0], needed[1], needed[3]])
    drecurrent = x.new_empty(0)
    if needed[2]:
        drecurrent = _recurrent_gradient(dz, du, previous, inner, recurrent_dropout_mask, reset_after)
    if needed[3] and reset_after:
        dbias = torch.stack([dbias, torch.cat([dbias[: 2 * units], du.sum((0, 1))])])
    return dx, dkernel, drecurrent, dbias, dh_0 if needed[4] else x.new_empty(0)


def _biases(bias: Tensor | None, units: int, reset_after: bool) -> tuple[Tensor | None, Tensor | None]:
    """(what is added to x W, what to h R_h): what the recurrent bias adds to z and r can be added to the input's."""
    if bias is None or not reset_after:
        return bias, None
    joined = bias[0].clone()
    joined[: 2 * units] += bias[1, : 2 * units]
    return joined, bias[1, 2 * units :].contiguous()


def _recurrent_gradient(
    dz: Tensor, du: Tensor, previous: Tensor, inner: Tensor, factors: Tensor | None, reset_after: bool
) -> Tensor:
    """dR [H, 3 H]: of z and r from `previous` and dz, of the candidate from what R_h was multiplied by."""
    units = previous.size(2)
    both, last = dz[..., : 2 * units], du if reset_after else dz[..., 2 * units :]
    operands = previous, previous if reset_after else inner
    if factors is not None and factors.dim() == 2:
        operands = [operand * factors.unsqueeze(1) for operand in operands]
        factors = None
    each = (None, None) if factors is None else (factors[:2], factors[2:])
    parts = zip((both, last), operands, each, strict=True)
    return torch.cat([recurrent_gradient(*part) for part in parts], 1)


def scan_forward(
    scan: Scan, reset_after: bool, outputs, gates, inner, previous, inner_bias, h_0, configuration: Configuration
) -> Tensor:
    """h at the end; writes `outputs`, `inner` and `previous` where they are not None, and `gates` in the place of z."""
    run = _FORWARD[type(configuration)]
    return run(scan, reset_after, outputs, gates, inner, previous, inner_bias, h_0, configuration)


def scan_backward(
    scan: Scan, reset_after: bool, dz, du, g_outputs, g_h, gates, inner, previous, state: bool,
    configuration: Configuration,
) -> Tensor:  # fmt: skip
    """The gradient of h_0, where `state` asks for it; writes `dz` and, with `reset_after`, `du`."""
    run = _BACKWARD[type(configuration)]
    return run(scan, reset_after, dz, du, g_outputs, g_h, gates, inner, previous, state, configuration)


gru_cell_forward = gru_forward  # a single step is a sequence of one


_FORWARD = {
    SequenceConfiguration: sequence_forward,
    CooperativeConfiguration: cooperative_forward,
    StepConfiguration: step_forward,
}
_BACKWARD = {
    SequenceConfiguration: sequence_backward,
    CooperativeConfiguration: cooperative_backward,
    StepConfiguration: step_backward,
}
