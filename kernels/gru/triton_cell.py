"""One step of the GRU on a tile of units: the equations that every form of the scan shares, and their derivative.

    z = s(.)    r = s(.)    n = a(.)                 the argument of n has r u with reset_after, else q R_h
    u = h' R_h + b'_h    or    q = r h'              h': the h of the step before; `inner` is u or q
    h = n + z (h' - n)

    dz = g (h' - n) s'(z)    dn = g (1 - z) a'(n)    g: the gradient of h; dz, dn, dr those before the activations
    dr = dn u s'(r)          du = dn r               with reset_after
    dr = dq h' s'(r)         dq = dn R_h^T           without
    g' = g z + (dz, dr) (R_z, R_r)^T + (du R_h^T  or  dq r)

Tiles are [rows, units]; the three gates of a unit stand at distance H in z, gates and dz [B, T, 3 H].
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastk.kernels.activation.triton_kernels import activation_gradient
from fastk.kernels.recurrence_triton import saved, squash, value


@triton.jit
def blend(z, before, h, ACTIVATION: tl.constexpr, FAST: tl.constexpr):
    """(h after the step, the candidate as backward needs it) from z and the candidate before its activation."""
    n = squash(before, ACTIVATION, FAST)
    return n + z * (h - n), saved(before, n, ACTIVATION)


@triton.jit
def blend_gradient(g, s_z, s_n, h, ACTIVATION: tl.constexpr, RECURRENT_ACTIVATION: tl.constexpr):
    """(dz, dn, what of g goes straight to the step before)."""
    z = value(s_z, RECURRENT_ACTIVATION)
    n = value(s_n, ACTIVATION)
    dz = activation_gradient(g * (h - n), s_z, RECURRENT_ACTIVATION)
    return dz, activation_gradient(g * (1.0 - z), s_n, ACTIVATION), g * z


@triton.jit
def reset_gradient(d, other, s_r, RECURRENT_ACTIVATION: tl.constexpr):
    """(dr, the gradient of `other`) where d is that of r other."""
    return activation_gradient(d * other, s_r, RECURRENT_ACTIVATION), d * value(s_r, RECURRENT_ACTIVATION)


@triton.jit
def load_three(tile, distance, inside):
    """Three tiles of one shape, `distance` elements apart: the gates of z or R, or their dropout factors."""
    z = tl.load(tile, mask=inside, other=0.0)
    r = tl.load(tile + distance, mask=inside, other=0.0)
    n = tl.load(tile + 2 * distance, mask=inside, other=0.0)
    return z, r, n


@triton.jit
def store_three(tile, distance, inside, z, r, n):
    """The inverse of `load_three`."""
    dtype = tile.dtype.element_ty
    tl.store(tile, z.to(dtype), mask=inside)
    tl.store(tile + distance, r.to(dtype), mask=inside)
    tl.store(tile + 2 * distance, n.to(dtype), mask=inside)


@triton.jit
def load_factor(factors_ptr, tile, B, inside, gate, H: tl.constexpr, FACTORS: tl.constexpr):
    """The recurrent dropout factors of a gate: a tile of [B, H] or of [3, B, H]."""
    own = gate if FACTORS == 3 else 0
    return tl.load(factors_ptr + own * (tl.cast(B, tl.int64) * H) + tile, mask=inside, other=0.0)
