"""LSTM in Triton (Hochreiter & Schmidhuber 1997; the gates and the layouts are those of `kernels.lstm`).

    B sequences, T steps, I inputs, H units

Forward: z = x W + b for all steps, one GEMM; then the scan, which adds h R to z step by step and applies the cell
(`triton_cell.py`). Backward: the scan in the other direction writes dz; then dx = dz W^T, dW = x^T dz, dR = h^T dz and
db, the sum of dz, as GEMMs over all steps.

Saved for backward, [B, T, .] each: the gates 4 H (in the place of z; activated, or before activations whose derivative
wants that), c, and h before the step with its dropout factors. Computed again: a(c).
`docs/ops/lstm.md` counts the bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.lstm.configurations import (
    BACKWARD,
    FORWARD,
    Configuration,
    CooperativeConfiguration,
    SequenceConfiguration,
    StepConfiguration,
)
from fastk.kernels.lstm.triton_cooperative import cooperative_backward, cooperative_forward
from fastk.kernels.lstm.triton_sequence import sequence_backward, sequence_forward
from fastk.kernels.lstm.triton_step import step_backward, step_forward
from fastk.kernels.recurrence_triton import (
    Scan,
    problem,
    project,
    projection_gradients,
    recurrent_gradient,
    shown_outputs,
)
from fastk.kernels.recurrence_triton import supports as supports  # asked by dispatch


def lstm_forward(
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    mask: Tensor | None,
    activation: str,
    recurrent_activation: str,
    dropout_mask: Tensor | None,
    recurrent_dropout_mask: Tensor | None,
    reverse: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    save: bool,
    configuration: Configuration | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(outputs, h, c, gates, cells, previous); outputs empty without return_sequences, the last three without save."""
    batch, steps, _ = x.shape
    units = recurrent_kernel.size(0)
    gates = project(x, kernel, bias, dropout_mask)
    outputs = x.new_empty((batch, steps, units) if return_sequences else 0)
    cells, previous = (x.new_empty((batch, steps, units) if save else 0) for _ in range(2))
    shown = shown_outputs(mask, h_0 is not None, zero_output_for_mask)
    scan = Scan.of(recurrent_kernel, mask, recurrent_dropout_mask, activation, recurrent_activation, reverse, shown)
    results = outputs if return_sequences else None, gates, cells if save else None, previous if save else None
    if batch:
        arguments = (scan, *results, h_0, c_0)
        asked = problem(x, recurrent_kernel, recurrent_dropout_mask)
        h, c = scan_forward(*arguments, configuration or configuration_for(FORWARD, asked, arguments))
    else:
        h, c = (x.new_empty(0, units) for _ in range(2))
    return outputs, h, c, gates if save else x.new_empty(0), cells, previous


def lstm_backward(
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    c_0: Tensor | None,
    mask: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    previous: Tensor,
    activation: str,
    recurrent_activation: str,
    dropout_mask: Tensor | None,
    recurrent_dropout_mask: Tensor | None,
    reverse: bool,
    zero_output_for_mask: bool,
    needed: list[bool],
    configuration: Configuration | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, kernel, recurrent_kernel, bias, h_0 and c_0; those not `needed` are empty."""
    batch, _, units = cells.shape
    shown = shown_outputs(mask, c_0 is not None, zero_output_for_mask)
    scan = Scan.of(recurrent_kernel, mask, recurrent_dropout_mask, activation, recurrent_activation, reverse, shown)
    grads = (None if g is None else g.contiguous() for g in (g_outputs, g_h, g_c))
    dz = torch.empty_like(gates)
    if batch:
        arguments = (scan, dz, *grads, gates, cells, c_0, needed[4] or needed[5])
        asked = problem(x, recurrent_kernel, recurrent_dropout_mask)
        dh_0, dc_0 = scan_backward(*arguments, configuration or configuration_for(BACKWARD, asked, arguments))
    else:
        dh_0, dc_0 = (x.new_empty(0, units) for _ in range(2))
    dx, dkernel, dbias = projection_gradients(dz, x, kernel, mask, dropout_mask, [needed[0], needed[1], needed[3]])
    drecurrent = recurrent_gradient(dz, previous, recurrent_dropout_mask) if needed[2] else x.new_empty(0)
    states = (d if need else x.new_empty(0) for d, need in zip((dh_0, dc_0), needed[4:], strict=True))
    return dx, dkernel, drecurrent, dbias, *states


def scan_forward(scan: Scan, outputs, gates, cells, previous, h_0, c_0, configuration: Configuration):
    """(h, c) at the end; writes `outputs`, `cells` and `previous` where not None, and `gates` in the place of z."""
    return _FORWARD[type(configuration)](scan, outputs, gates, cells, previous, h_0, c_0, configuration)


def scan_backward(scan: Scan, dz, g_outputs, g_h, g_c, gates, cells, c_0, states: bool, configuration: Configuration):
    """The gradients of h_0 and c_0, where `states` asks for them; writes `dz`."""
    return _BACKWARD[type(configuration)](scan, dz, g_outputs, g_h, g_c, gates, cells, c_0, states, configuration)


lstm_cell_forward = lstm_forward  # a single step is a sequence of one


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
