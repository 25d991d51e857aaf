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

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from fastk.kernels.lstm.configurations import (
    Configuration,
    CooperativeConfiguration,
    Problem,
    SequenceConfiguration,
    StepConfiguration,
    choose_configuration,
    padded,
)
from fastk.kernels.lstm.triton_cooperative import lstm_cooperative_backward_kernel, lstm_cooperative_forward_kernel
from fastk.kernels.lstm.triton_sequence import lstm_sequence_backward_kernel, lstm_sequence_forward_kernel
from fastk.kernels.lstm.triton_step import lstm_step_backward_kernel, lstm_step_forward_kernel
from fastk.kernels.recurrence_triton import (
    accumulator,
    gate_factors,
    precision,
    project,
    projection_gradients,
    recurrent_gradient,
    shown_outputs,
)
from fastk.kernels.triton_runtime import INTERPRETED, architecture, sm_count


@dataclass(frozen=True)
class Scan:
    """What the forms of the scan and its derivative are told alike.

    factors: the recurrent dropout factors; shown: see `recurrence_triton.shown_outputs`.
    """

    recurrent_kernel: Tensor
    mask: Tensor | None
    factors: Tensor | None
    activation: str
    recurrent_activation: str
    reverse: bool
    shown: int

    @classmethod
    def of(cls, recurrent_kernel: Tensor, mask: Tensor | None, factors: Tensor | None, *others) -> Scan:
        """With the tensors laid out as the kernels read them."""
        mask = None if mask is None else mask.contiguous()
        factors = None if factors is None else factors.contiguous()
        return cls(recurrent_kernel.contiguous(), mask, factors, *others)

    def flags(self, dtype: torch.dtype) -> dict:
        """The kernels' flags that do not depend on the form."""
        return {
            "H": self.recurrent_kernel.size(0),
            "ACTIVATION": self.activation,
            "RECURRENT_ACTIVATION": self.recurrent_activation,
            "FACTORS": gate_factors(self.factors),
            "SHOWN": self.shown,
            "REVERSE": self.reverse,
            "PRECISION": precision(dtype),
            "ACCUMULATOR": accumulator(dtype),
        }


def supports(op: str, x: Tensor, *arguments: object) -> str | None:
    """None, or why Triton does not run `op` on these arguments, which are those of `aten.<op>`."""
    tensors = [x, *(t for a in arguments for t in (a if isinstance(a, tuple) else (a,)) if isinstance(t, Tensor))]
    if any(callable(a) and not isinstance(a, Tensor) for a in arguments):
        return f"{op} in Triton knows activations by their names, and one is a function"
    if len({t.dtype for t in tensors if t.is_floating_point()}) > 1 and not torch.is_autocast_enabled(x.device.type):
        return f"{op} in Triton takes tensors of one dtype, and these are of several"
    if x.dtype == torch.float64 and not INTERPRETED:
        return f"{op} in Triton takes float32, bfloat16 and float16, not float64"
    factors = arguments[-5:-3] if op == "lstm" else arguments[-2:]
    if any(isinstance(f, Tensor) and f.requires_grad for f in factors):
        return f"{op} in Triton has no derivative by a dropout mask"
    return None


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
    problem = Problem(batch, steps, units, x.dtype, precision(x.dtype), architecture(), sm_count())
    chosen = configuration or choose_configuration(problem)
    run = _FORWARD[type(chosen)]
    results = outputs if return_sequences else None, gates, cells if save else None, previous if save else None
    if batch:
        h, c = run(scan, *results, h_0, c_0, chosen)
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
    batch, steps, units = cells.shape
    shown = shown_outputs(mask, c_0 is not None, zero_output_for_mask)
    scan = Scan.of(recurrent_kernel, mask, recurrent_dropout_mask, activation, recurrent_activation, reverse, shown)
    problem = Problem(batch, steps, units, x.dtype, precision(x.dtype), architecture(), sm_count())
    chosen = configuration or choose_configuration(problem)
    run = _BACKWARD[type(chosen)]
    grads = (None if g is None else g.contiguous() for g in (g_outputs, g_h, g_c))
    dz = torch.empty_like(gates)
    if batch:
        dh_0, dc_0 = run(scan, dz, *grads, gates, cells, c_0, needed[4] or needed[5], chosen)
    else:
        dh_0, dc_0 = (x.new_empty(0, units) for _ in range(2))
    dx, dkernel, dbias = projection_gradients(dz, x, kernel, mask, dropout_mask, [needed[0], needed[1], needed[3]])
    drecurrent = recurrent_gradient(dz, previous, recurrent_dropout_mask) if needed[2] else x.new_empty(0)
    states = (d if need else x.new_empty(0) for d, need in zip((dh_0, dc_0), needed[4:], strict=True))
    return dx, dkernel, drecurrent, dbias, *states


lstm_cell_forward = lstm_forward  # a single step is a sequence of one


# ---------------------------------------------------------------- all steps in one launch


def _sequence_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: SequenceConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h, c = gates.new_empty(batch, units), gates.new_empty(batch, units)
    lstm_sequence_forward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        outputs,
        h,
        c,
        gates,
        cells,
        previous,
        scan.recurrent_kernel,
        None if h_0 is None else h_0.contiguous(),
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
    )
    return h, c


def _sequence_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: SequenceConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = cells.shape
    dh_0, dc_0 = gates.new_empty(batch, units), gates.new_empty(batch, units)
    lstm_sequence_backward_kernel[(triton.cdiv(batch, chosen.block_b),)](
        dz,
        dh_0 if state_needed else None,
        dc_0 if state_needed else None,
        g_outputs,
        g_h,
        g_c,
        gates,
        cells,
        scan.recurrent_kernel,
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_H=padded(units),
        num_warps=chosen.num_warps,
    )
    return dh_0, dc_0


# ---------------------------------------------------------------- all steps in one launch of programs that run at once


def _cooperative_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: CooperativeConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    h, c = gates.new_empty(batch, units), gates.new_empty(batch, units)
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    lstm_cooperative_forward_kernel[grid](
        outputs,
        h,
        c,
        gates,
        cells,
        exchange,
        gates.new_zeros(grid[0], dtype=torch.int32),
        scan.recurrent_kernel,
        None if h_0 is None else h_0.contiguous(),
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        exchange.size(1),
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_N=chosen.block_n,
        BLOCK_K=padded(units),
        CHUNK=chosen.chunk,
        PARTS=chosen.num_warps,
        num_warps=chosen.num_warps,
        launch_cooperative_grid=True,
    )
    return h, c


def _cooperative_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: CooperativeConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = cells.shape
    dh_0, dc_0 = gates.new_empty(batch, units), gates.new_empty(batch, units)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    lstm_cooperative_backward_kernel[grid](
        dz,
        dh_0 if state_needed else None,
        dc_0 if state_needed else None,
        gates.new_zeros(grid[0], dtype=torch.int32),
        g_outputs,
        g_h,
        g_c,
        gates,
        cells,
        scan.recurrent_kernel,
        None if c_0 is None else c_0.contiguous(),
        scan.mask,
        scan.factors,
        batch,
        steps,
        **scan.flags(gates.dtype),
        BLOCK_B=chosen.block_b,
        BLOCK_N=chosen.block_n,
        BLOCK_K=padded(units),
        CHUNK=chosen.chunk,
        PARTS=chosen.num_warps,
        num_warps=chosen.num_warps,
        launch_cooperative_grid=True,
    )
    return dh_0, dc_0


# ---------------------------------------------------------------- a launch for each step


def _step_forward(
    scan: Scan,
    outputs: Tensor | None,
    gates: Tensor,
    cells: Tensor | None,
    previous: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    chosen: StepConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = *gates.shape[:2], scan.recurrent_kernel.size(0)
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    h = gates.new_zeros(batch, units) if h_0 is None else h_0.contiguous().clone()
    c = gates.new_zeros(batch, units, dtype=wide) if c_0 is None else c_0.to(wide, copy=True).contiguous()
    slots = [(steps - 1 - t if scan.reverse else t) if cells is not None else t % 2 for t in range(steps)]
    exchange = gates.new_empty(batch, 2, units) if previous is None else previous
    shared = h if scan.factors is None or scan.factors.dim() == 3 else h * scan.factors
    exchange[:, slots[0]] = shared
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    for t in range(steps):
        lstm_step_forward_kernel[grid](
            outputs,
            h,
            c,
            gates,
            cells,
            exchange,
            scan.recurrent_kernel,
            scan.mask,
            scan.factors,
            batch,
            steps,
            t,
            slots[t],
            slots[min(t + 1, steps - 1)],
            exchange.size(1),
            **scan.flags(gates.dtype),
            BLOCK_B=chosen.block_b,
            BLOCK_N=chosen.block_n,
            BLOCK_K=chosen.block_k,
            num_warps=chosen.num_warps,
            num_stages=chosen.num_stages,
        )
    return h, c.to(gates.dtype)


def _step_backward(
    scan: Scan,
    dz: Tensor,
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    c_0: Tensor | None,
    state_needed: bool,
    chosen: StepConfiguration,
) -> tuple[Tensor, Tensor]:
    batch, steps, units = cells.shape
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    zeros = gates.new_zeros(batch, units, dtype=wide)
    dh = zeros if g_h is None else g_h.to(wide, copy=True)
    dc = zeros.clone() if g_c is None else g_c.to(wide, copy=True)
    grid = triton.cdiv(batch, chosen.block_b), triton.cdiv(units, chosen.block_n)
    for t in range(steps - 1, -2 if state_needed else -1, -1):
        lstm_step_backward_kernel[grid](
            dz,
            dh,
            dc,
            g_outputs,
            gates,
            cells,
            scan.recurrent_kernel,
            None if c_0 is None else c_0.contiguous(),
            scan.mask,
            scan.factors,
            batch,
            steps,
            t,
            **scan.flags(gates.dtype),
            BLOCK_B=chosen.block_b,
            BLOCK_N=chosen.block_n,
            BLOCK_K=chosen.block_k,
            num_warps=chosen.num_warps,
            num_stages=chosen.num_stages,
        )
    return dh.to(gates.dtype), dc.to(gates.dtype)


_FORWARD = {
    SequenceConfiguration: _sequence_forward,
    CooperativeConfiguration: _cooperative_forward,
    StepConfiguration: _step_forward,
}
_BACKWARD = {
    SequenceConfiguration: _sequence_backward,
    CooperativeConfiguration: _cooperative_backward,
    StepConfiguration: _step_backward,
}
