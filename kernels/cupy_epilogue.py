"""What follows a matrix product in `dense` and `conv2d`, and its gradient; see `epilogue.cu`."""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.kernels.activation import before_dropout, saves_input
from fastk.kernels.cupy_runtime import FLOATS, WIDTHS, Kernel, activation_number, packed, tile, wide_type, width

_FORWARD = Kernel("epilogue.cu", "epilogue_forward", FLOATS, WIDTHS)
_BACKWARD = Kernel("epilogue.cu", "epilogue_backward", FLOATS, WIDTHS)
_SUMS = Kernel("epilogue.cu", "column_sums", FLOATS)


def dropout_numbers(rate: float) -> tuple[int, float]:
    """(threshold, scale): of 65536 values those below the threshold drop the element, the others scale it."""
    return min(round(rate * 65536), 65535), 1.0 / (1.0 - rate)


def epilogue_forward(
    z: Tensor, bias: Tensor | None, activation: str | None, rate: float, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(y, saved) with y = dropout(activation(z + bias)) and what the activation's derivative needs beside y.

    z [..., N] is contiguous, belongs to nobody else and is overwritten: by y, or by z + bias, which is then `saved`.
    Else `saved` is empty. rate < 1.
    """
    rows, columns = z.numel() // max(1, z.size(-1)), z.size(-1)
    keep = saves_input(activation)
    y = torch.empty_like(z) if keep else z
    saved = z if keep else z.new_empty(0)
    if bias is None and activation in (None, "linear") and not rate:
        return y, saved
    vector = width(columns)
    bias = None if bias is None else packed(bias)
    numbers = (activation_number(activation), *dropout_numbers(rate))
    _FORWARD(
        (z.dtype, vector),
        *tile(columns // vector, rows),
        *(y, z, bias, seed if rate else None, rows, columns, *numbers),
    )
    return y, saved


def epilogue_backward(
    g: Tensor, y: Tensor, saved: Tensor, activation: str | None, rate: float, seed: Tensor | None, bias_needed: bool
) -> tuple[Tensor, Tensor]:
    """(dz, dbias) from the gradient g of y; without `bias_needed` dbias is empty. dz is g itself where z is y."""
    g = packed(g)
    rows, columns = g.numel() // max(1, g.size(-1)), g.size(-1)
    same = activation in (None, "linear") and not rate
    if same and not bias_needed:
        return g, g.new_empty(0)
    vector = width(columns)
    grid, block = tile(columns // vector, rows, rows_each=16)
    dz = g if same else torch.empty_like(g)
    sums = g.new_empty((grid[1] * block[1], columns) if bias_needed else 0, dtype=wide_type(g.dtype))
    values = None if activation in (None, "linear") else packed(saved if saves_input(activation) else y)
    _BACKWARD(
        (g.dtype, vector),
        *(grid, block),
        *(None if same else dz, sums if bias_needed else None, g, values, seed if rate else None, rows, columns),
        *(activation_number(activation), *dropout_numbers(rate), before_dropout(activation, rate, g.dtype)),
    )
    return dz, add_rows(sums, g.dtype) if bias_needed else g.new_empty(0)


def column_sums(x: Tensor) -> Tensor:
    """[N], the sums over all but the last axis of x [..., N]."""
    return epilogue_backward(x, x, x, None, 0.0, None, True)[1]


def add_rows(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """[N] of `dtype`: the sum of the rows of [P, N], 32 of them at a time."""
    rows, columns = sums.shape
    if not rows:
        return sums.new_zeros(columns, dtype=dtype)
    while True:
        parts = -(-rows // 32)
        out = sums.new_empty((parts, columns), dtype=dtype if parts == 1 else sums.dtype)
        across = min(256, max(32, columns))
        _SUMS((out.dtype,), (-(-columns // across), parts), (across, 1), out, sums, rows, columns)
        if parts == 1:
            return out[0]
        sums, rows = out, parts
