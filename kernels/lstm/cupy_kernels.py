"""LSTM as GEMMs of cuBLAS and one kernel for each step; see `lstm.cu` and the contract in `kernels.lstm`.

Forward: x W for all steps is one GEMM; then for each step h R, accumulated in float32, and a kernel that adds the two
and the bias and applies the cell. Backward: for each step, from the last on, a kernel that gives dz and a GEMM dz R^T;
then dx = dz W^T, dW = x^T dz, dR = h^T dz over all steps, and db.

Saved for backward, [B, T, .] each: z (4 H), c after the step, and h before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastk.kernels.cupy_epilogue import column_sums
from fastk.kernels.cupy_gemm import gemm
from fastk.kernels.cupy_runtime import FLOATS, Kernel, activation_number, tile, why_not_these, wide_type

_FORWARD = Kernel("lstm/lstm.cu", "lstm_forward_step", FLOATS)
_BACKWARD = Kernel("lstm/lstm.cu", "lstm_backward_step", FLOATS)


def supports(op: str, x: Tensor, *arguments: Any) -> str | None:
    """None, or why not; the arguments are those of `aten.<op>`."""
    if any(callable(a) and not isinstance(a, Tensor) for a in arguments):
        return f"the CuPy kernels of {op} know activations by their names, and one is a function"
    factors = arguments[-5:-3] if op == "lstm" else arguments[-2:]
    if any(f is not None and f.requires_grad for f in factors):
        return f"the CuPy kernels of {op} have no derivative by a dropout mask"
    tensors = [t for a in arguments for t in (a if isinstance(a, tuple) else (a,)) if isinstance(t, Tensor)]
    recurrent_kernel: Tensor = arguments[1] if op == "lstm" else arguments[3]
    gates = x.shape[:-1].numel() * recurrent_kernel.size(1)
    return why_not_these(gates, x, *(t for t in tensors if t.dtype != torch.bool))


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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(outputs, h, c, z, cells, previous); outputs empty without return_sequences, the last three without save."""
    batch, steps, _ = x.shape
    units, dtype = recurrent_kernel.size(0), x.dtype
    z = _project(x, kernel, dropout_mask)
    h = x.new_zeros(batch, units) if h_0 is None else h_0.contiguous().clone()
    c = _wide_state(c_0, h)
    outputs = x.new_empty((batch, steps, units) if return_sequences else 0)
    cells, previous = (x.new_empty((batch, steps, units) if save else 0) for _ in range(2))
    mask, shown = _masks(mask, h_0 is not None, zero_output_for_mask, reverse)
    factors = _factors(recurrent_dropout_mask)
    dropped = h if factors is None else h * factors
    product = x.new_empty(batch, 4 * units, dtype=wide_type(dtype))
    bias = None if bias is None else bias.contiguous()
    gates = 1 if factors is None else factors.size(0)
    grid, block = tile(units, batch, rows_each=1)
    for place in range(steps):
        t = steps - 1 - place if reverse else place
        is_zero = place == 0 and h_0 is None
        if not is_zero:
            _recurrent_product(dropped, recurrent_kernel, product)
        _FORWARD(
            (dtype,),
            *(grid, block),
            *(h, c, z, outputs if return_sequences else None, cells if save else None, previous if save else None),
            *(None if factors is None else dropped, None if is_zero else product, bias, mask, shown, factors),
            *(batch, steps, units, gates, t, place),
            *(activation_number(activation), activation_number(recurrent_activation)),
        )
    return outputs, h, c.to(dtype), z if save else x.new_empty(0), cells, previous


def lstm_backward(
    g_outputs: Tensor | None,
    g_h: Tensor | None,
    g_c: Tensor | None,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    c_0: Tensor | None,
    mask: Tensor | None,
    z: Tensor,
    cells: Tensor,
    previous: Tensor,
    activation: str,
    recurrent_activation: str,
    dropout_mask: Tensor | None,
    recurrent_dropout_mask: Tensor | None,
    reverse: bool,
    zero_output_for_mask: bool,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, kernel, recurrent_kernel, bias, h_0 and c_0; those not `needed` are empty."""
    batch, steps, units = cells.shape
    wide = wide_type(x.dtype)
    dz = torch.empty_like(z)
    dh, dc = _wide_state(g_h, x.new_empty(batch, units)), _wide_state(g_c, x.new_empty(batch, units))
    factors = _factors(recurrent_dropout_mask)
    product = x.new_empty(1 if factors is None else factors.size(0), batch, units, dtype=wide)
    steps_mask, shown = _masks(mask, c_0 is not None, zero_output_for_mask, reverse)
    g_outputs = None if g_outputs is None else g_outputs.contiguous()
    c_0 = None if c_0 is None else c_0.contiguous()
    grid, block = tile(units, batch, rows_each=1)
    for place in range(steps - 1, -1, -1):
        t, before = (steps - 1 - place, steps - place) if reverse else (place, place - 1)
        last = place == steps - 1
        _BACKWARD(
            (x.dtype,),
            *(grid, block),
            *(dz, dc, dh, None if last else product, factors, g_outputs, z, cells, c_0, steps_mask, shown),
            *(batch, steps, units, product.size(0), t, before if place else -1, place),
            *(activation_number(activation), activation_number(recurrent_activation)),
        )
        if place or needed[4]:
            _recurrent_product_gradient(dz[:, t], recurrent_kernel, product)
    if needed[4]:
        dh += (product if factors is None else product * factors).sum(0)
    empty = x.new_empty(0)
    if needed[1] and mask is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # dz is 0 there, and NaN times 0 is not
    return (
        _input_gradient(dz, kernel, dropout_mask) if needed[0] else empty,
        _kernel_gradient(x, dropout_mask, dz) if needed[1] else empty,
        _kernel_gradient(previous, recurrent_dropout_mask, dz) if needed[2] else empty,
        column_sums(dz) if needed[3] else empty,
        dh.to(x.dtype) if needed[4] else empty,
        dc.to(x.dtype) if needed[5] else empty,
    )


lstm_cell_forward = lstm_forward  # a single step is a sequence of one


def _wide_state(state: Tensor | None, like: Tensor) -> Tensor:
    """A state or its gradient in the type of sums, to be overwritten; None is 0."""
    wide = wide_type(like.dtype)
    return torch.zeros_like(like, dtype=wide) if state is None else state.contiguous().to(wide, copy=True)


def _factors(mask: Tensor | None) -> Tensor | None:
    """A recurrent dropout mask as [G, B, H]."""
    if mask is None:
        return None
    return (mask if mask.dim() == 3 else mask.unsqueeze(0)).contiguous()


def _masks(
    mask: Tensor | None, has_state: bool, zero_output: bool, reverse: bool
) -> tuple[Tensor | None, Tensor | None]:
    """(mask, shown): at which steps the states change, and at which the output is the state instead of 0; None is all.

    A masked step repeats the state before it, 0 where there has been none; an initial state is not an output.
    """
    if mask is None:
        return None, None
    mask = mask.contiguous()
    if zero_output:
        return mask, mask
    if not has_state:
        return mask, None
    seen = mask.flip(1).cumsum(1).flip(1) if reverse else mask.cumsum(1)
    return mask, seen > 0


def _project(x: Tensor, kernel: Tensor, factors: Tensor | None) -> Tensor:
    """(x factors) W for all steps, [B, T, 4 H]."""
    batch, steps, inputs = x.shape
    z = x.new_empty(batch, steps, kernel.size(1))
    for part, columns in _parts(x, factors, kernel.size(1)):
        gemm(part.reshape(-1, inputs), kernel[:, columns], z.view(-1, kernel.size(1))[:, columns])
    return z


def _kernel_gradient(x: Tensor, factors: Tensor | None, dz: Tensor) -> Tensor:
    """(x factors)^T dz, [I, 4 H]."""
    columns_of_all = dz.size(-1)
    dkernel, dz = x.new_empty(x.size(-1), columns_of_all), dz.view(-1, columns_of_all)
    for part, columns in _parts(x, factors, columns_of_all):
        gemm(part.reshape(-1, x.size(-1)).t(), dz[:, columns], dkernel[:, columns])
    return dkernel


def _input_gradient(dz: Tensor, kernel: Tensor, factors: Tensor | None) -> Tensor:
    """The sum over the gates of (dz W^T) factors, [B, T, I]."""
    batch, steps, columns = dz.shape
    dx = dz.new_empty(batch, steps, kernel.size(0))
    if factors is None or factors.dim() == 2:
        gemm(dz.view(-1, columns), kernel.t(), dx.view(-1, kernel.size(0)))
        return dx if factors is None else dx.mul_(factors.unsqueeze(1))
    # Scaled by each gate's factors before they are summed, in the type of sums.
    total = torch.zeros_like(dx, dtype=wide_type(dx.dtype))
    product = torch.empty_like(total)
    for gate, own in enumerate(_columns(4, columns)):
        gemm(dz.view(-1, columns)[:, own], kernel[:, own].t(), product.view(-1, kernel.size(0)))
        total.addcmul_(product, factors[gate].unsqueeze(1))
    return total.to(dx.dtype)


def _parts(x: Tensor, factors: Tensor | None, columns: int) -> list[tuple[Tensor, slice]]:
    """x [B, T, K] times its factors, with the columns of the kernel that it is multiplied by."""
    if factors is None:
        return [(x, slice(0, columns))]
    if factors.dim() == 2:
        return [(x * factors.unsqueeze(1), slice(0, columns))]
    return [(x * factors[gate].unsqueeze(1), own) for gate, own in enumerate(_columns(4, columns))]


def _columns(gates: int, columns: int) -> list[slice]:
    units = columns // gates
    return [slice(gate * units, (gate + 1) * units) for gate in range(gates)]


def _recurrent_product(h: Tensor, kernel: Tensor, product: Tensor) -> None:
    """product [B, 4 H] = h R, with h [B, H], [1, B, H], or [4, B, H] with one for each gate."""
    if h.dim() == 2 or h.size(0) == 1:
        gemm(h.reshape(product.size(0), kernel.size(0)), kernel, product)
        return
    units = kernel.size(0)
    by_gate = kernel.unflatten(1, (4, units)).transpose(0, 1)
    gemm(h, by_gate, product.view(-1, 4, units).transpose(0, 1))


def _recurrent_product_gradient(dz: Tensor, kernel: Tensor, product: Tensor) -> None:
    """product [1, B, H] = dz R^T, or [4, B, H], each gate's own."""
    if product.size(0) == 1:
        gemm(dz, kernel.t(), product[0])
        return
    units = kernel.size(0)
    by_gate = kernel.unflatten(1, (4, units)).permute(1, 2, 0)
    gemm(dz.unflatten(1, (4, units)).transpose(0, 1), by_gate, product)
