"""One step of the LSTM on a tile of units: the equations that every form of the scan shares, and their derivative.

    c = f c' + i g    h = o a(c)    with i, f, o = s(z_i), s(z_f), s(z_o), g = a(z_c), and c' the c of the step before

    dc  += dh o a'(c)                          dc: from the step after
    dz_i = dc g  s'(z_i)    dz_f = dc c' s'(z_f)
    dz_c = dc i  a'(z_c)    dz_o = dh a(c) s'(z_o)
    dc'  = dc f

Tiles are [rows, units]; the four gates of a unit stand at distance H in z, gates and dz [B, T, 4 H].

With FAST, which is bfloat16, tanh is the instruction of that name (relative error 2^-11, bfloat16's rounding being
2^-9) and sigmoid(x) is (1 + tanh(x / 2)) / 2: at 40 activations a thread and step these are half of a step's
instructions otherwise (docs/ops/lstm.md).
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastk.kernels.activation.triton_kernels import activation_gradient
from fastk.kernels.recurrence_triton import saved, squash, value


@triton.jit
def cell(z_i, z_f, z_c, z_o, c, ACTIVATION: tl.constexpr, RECURRENT_ACTIVATION: tl.constexpr, FAST: tl.constexpr):
    """(h, c, and the four gates as backward needs them) of one step."""
    i = squash(z_i, RECURRENT_ACTIVATION, FAST)
    f = squash(z_f, RECURRENT_ACTIVATION, FAST)
    g = squash(z_c, ACTIVATION, FAST)
    o = squash(z_o, RECURRENT_ACTIVATION, FAST)
    c = f * c + i * g
    h = o * squash(c, ACTIVATION, FAST)
    i = saved(z_i, i, RECURRENT_ACTIVATION)
    f = saved(z_f, f, RECURRENT_ACTIVATION)
    g = saved(z_c, g, ACTIVATION)
    o = saved(z_o, o, RECURRENT_ACTIVATION)
    return h, c, i, f, g, o


@triton.jit
def cell_gradient(
    dh,
    dc,
    s_i,
    s_f,
    s_c,
    s_o,
    c,
    c_old,
    ACTIVATION: tl.constexpr,
    RECURRENT_ACTIVATION: tl.constexpr,
    FAST: tl.constexpr,
):
    """(dz of the four gates, dc of the step before) from what `cell` saved."""
    i = value(s_i, RECURRENT_ACTIVATION)
    f = value(s_f, RECURRENT_ACTIVATION)
    g = value(s_c, ACTIVATION)
    o = value(s_o, RECURRENT_ACTIVATION)
    y = squash(c, ACTIVATION, FAST)
    dc += activation_gradient(dh * o, saved(c, y, ACTIVATION), ACTIVATION)
    dz_i = activation_gradient(dc * g, s_i, RECURRENT_ACTIVATION)
    dz_f = activation_gradient(dc * c_old, s_f, RECURRENT_ACTIVATION)
    dz_c = activation_gradient(dc * i, s_c, ACTIVATION)
    dz_o = activation_gradient(dh * y, s_o, RECURRENT_ACTIVATION)
    return dz_i, dz_f, dz_c, dz_o, dc * f


@triton.jit
def load_four(tile, distance, inside):
    """Four tiles of one shape, `distance` elements apart: the gates of z or R, or their dropout factors."""
    i = tl.load(tile, mask=inside, other=0.0)
    f = tl.load(tile + distance, mask=inside, other=0.0)
    c = tl.load(tile + 2 * distance, mask=inside, other=0.0)
    o = tl.load(tile + 3 * distance, mask=inside, other=0.0)
    return i, f, c, o


@triton.jit
def store_four(tile, distance, inside, i, f, c, o):
    """The inverse of `load_four`."""
    dtype = tile.dtype.element_ty
    tl.store(tile, i.to(dtype), mask=inside)
    tl.store(tile + distance, f.to(dtype), mask=inside)
    tl.store(tile + 2 * distance, c.to(dtype), mask=inside)
    tl.store(tile + 3 * distance, o.to(dtype), mask=inside)


@triton.jit
def gate_columns(first, H: tl.constexpr, BLOCK_N: tl.constexpr):
    """Of a row of [.., 4 H], the columns of each gate's BLOCK_N units from `first` on, gate by gate; and the units."""
    offs_g = tl.arange(0, 4 * BLOCK_N)
    units = first + offs_g % BLOCK_N
    return offs_g // BLOCK_N * H + units, units


@triton.jit
def split_gates(wide, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr):
    """The four tiles [BLOCK_B, BLOCK_N] that stand side by side in a wide one."""
    even, odd = wide.reshape(BLOCK_B, 2, 2, BLOCK_N).permute(0, 3, 2, 1).split()
    i, f = even.split()
    c, o = odd.split()
    return i, f, c, o


@triton.jit
def join_gates(i, f, c, o, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr):
    """The inverse of `split_gates`."""
    return tl.join(tl.join(i, f), tl.join(c, o)).permute(0, 3, 2, 1).reshape(BLOCK_B, 4 * BLOCK_N)
