"""Dropout in one pass, without a stored mask: y = x * mask(seed, i) / (1 - rate), dx = dy * mask(seed, i) / (1 - rate).

    i        an element's row-major index; G = ceil(n / 8) groups of 8 elements share one call of Philox4x32-7
    mask     of element i: lane i % 8, 16 bits, of the call with counter (i // 8, offset) and key seed, >= threshold

Forward and backward are the same function, so one kernel serves both; nothing is saved but the seed. It reads and
writes every element once. A call of Philox is 14 wide multiplications for 8 elements.

`keep` is what other kernels' epilogues use: `keep_run` for a run of elements, `keep_tile` for a tile of a matrix.
"""

from __future__ import annotations

import struct
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels import triton_runtime
from fastk.kernels.dropout import philox
from fastk.kernels.dropout.configurations import TUNABLE, DropoutConfiguration, Elements

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_A, _B = tl.constexpr(philox.A), tl.constexpr(philox.B)
_DA, _DB = tl.constexpr(philox.DA), tl.constexpr(philox.DB)
_ROUNDS = tl.constexpr(philox.ROUNDS)


@triton.jit
def random_words(group, seed_ptr):
    """Four uint32 tensors of group's shape: Philox4x32-7 of the counters (group, offset) under the key seed.

    group: int32 (then below 2^31) or int64. seed_ptr: int64 [2], (seed, offset).
    """
    seed = tl.load(seed_ptr)
    offset = tl.load(seed_ptr + 1)
    k0, k1 = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    c0, c1 = group.to(tl.uint32), group.to(tl.uint32) * 0
    if group.dtype.primitive_bitwidth == 64:
        c1 = (group >> 32).to(tl.uint32)
    c2, c3 = c0 * 0 + offset.to(tl.uint32), c0 * 0 + (offset >> 32).to(tl.uint32)
    for _ in tl.static_range(_ROUNDS):
        p0 = c0.to(tl.uint64) * _A
        p1 = c2.to(tl.uint64) * _B
        c0 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c1 = p1.to(tl.uint32)
        c2 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c3 = p0.to(tl.uint32)
        k0 = tl.add(k0, _DA, sanitize_overflow=False)
        k1 = tl.add(k1, _DB, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def keep(group, seed_ptr, threshold):
    """int1 [*group's shape, 2, 2, 2]: of each group's 8 elements, in order, whether dropout keeps them."""
    r0, r1, r2, r3 = random_words(group, seed_ptr)
    # join adds an axis at the end: first the words' high bit, then their low bit, then the half.
    words = tl.join(tl.join(r0, r2), tl.join(r1, r3))
    return tl.join(words & 0xFFFF, words >> 16) >= threshold.to(tl.uint32)


@triton.jit
def keep_run(first_group, seed_ptr, threshold, BLOCK: tl.constexpr):
    """int1 [BLOCK]: for a run of elements from 8 * first_group on; first_group is a multiple of BLOCK // 8."""
    group = first_group + tl.arange(0, BLOCK // 8)
    return keep(group, seed_ptr, threshold).reshape(BLOCK)


@triton.jit
def keep_tile(offs_m, first_group, row_groups, seed_ptr, threshold, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """int1 [BLOCK_M, BLOCK_N]: for a tile of a matrix [M, N] with N % 8 == 0.

    offs_m: [BLOCK_M] rows, int64 where M * N may pass 2^34. first_group: the first column // 8. row_groups: N // 8.
    """
    group = offs_m[:, None] * row_groups + (first_group + tl.arange(0, BLOCK_N // 8))[None, :]
    return keep(group, seed_ptr, threshold).reshape(BLOCK_M, BLOCK_N)


@triton.jit
def _store_scaled(y_ptr, x_ptr, first_group, offs, mask, kept, scale):
    """Elements `offs` from 8 * first_group on of y."""
    y = tl.where(kept, scale, 0.0)
    if x_ptr is not None:
        y *= tl.load(x_ptr + first_group * 8 + offs, mask=mask).to(scale.dtype)
    tl.store(y_ptr + first_group * 8 + offs, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["groups", "tail", "threshold", "scale_bits"])
def dropout_kernel(
    y_ptr, x_ptr, seed_ptr, groups, tail, threshold, scale_bits, TAIL: tl.constexpr, BLOCK: tl.constexpr
):
    """y = x * mask * scale; without x the noise mask * scale. Sizes are 8 * groups + tail, tail < 8.

    Counting groups keeps loads and stores 128 bits wide where the size is no multiple of 16. scale_bits: those of a
    float64.
    """
    scale = scale_bits.to(tl.int64).to(tl.float64, bitcast=True)
    if y_ptr.dtype.element_ty != tl.float64:
        scale = scale.to(tl.float32)
    first_group = tl.program_id(0).to(tl.int64) * (BLOCK // 8)
    offs = tl.arange(0, BLOCK)
    mask = offs // 8 < groups - first_group
    kept = keep_run(first_group, seed_ptr, threshold, BLOCK)
    _store_scaled(y_ptr, x_ptr, first_group, offs, mask, kept, scale)
    if TAIL and tl.program_id(0) == 0:
        last_group = groups.to(tl.int64)
        lanes = tl.arange(0, 8)
        kept_lanes = keep_run(last_group, seed_ptr, threshold, 8)
        _store_scaled(y_ptr, x_ptr, last_group, lanes, lanes < tail, kept_lanes, scale)


def supports(op: str, x: Tensor, rate: float, seed: Any, noise_shape: tuple[int, ...] | None) -> str | None:
    """None, or why not: the kernels take the four float dtypes."""
    return None if x.dtype in _DTYPES else f"the Triton kernels of {op} take floats of 16 to 64 bits, not {x.dtype}"


def dropout_forward(
    x: Tensor,
    rate: float,
    seed: Tensor,
    noise_shape: tuple[int, ...] | None,
    configuration: DropoutConfiguration | None = None,
) -> Tensor:
    """x * mask / (1 - rate).

    A noise shape of its own is drawn first and then multiplied: it is smaller than x by the sizes it is broadcast
    over, and so is what its way through memory costs.
    """
    if rate == 1.0:
        return torch.zeros_like(x, memory_format=torch.contiguous_format)
    if noise_shape is None or tuple(noise_shape) == x.shape:
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        drop(y, x.contiguous(), rate, seed, configuration)
        return y
    noise = torch.empty(noise_shape, dtype=x.dtype, device=x.device)
    drop(noise, None, rate, seed, configuration)
    return x * noise


def dropout_backward(
    g: Tensor,
    rate: float,
    seed: Tensor,
    noise_shape: tuple[int, ...] | None,
    configuration: DropoutConfiguration | None = None,
) -> Tensor:
    """g * mask / (1 - rate), with the mask made again from the seed."""
    return dropout_forward(g, rate, seed, noise_shape, configuration)


def drop(
    y: Tensor, x: Tensor | None, rate: float, seed: Tensor, configuration: DropoutConfiguration | None = None
) -> None:
    """y = x * mask / (1 - rate), or the mask's factors themselves where x is None."""
    size = y.numel()
    if size == 0:
        return
    problem = Elements(size, y.dtype, x is not None, triton_runtime.architecture(), triton_runtime.sm_count())
    chosen = configuration or configuration_for(TUNABLE, problem, (y, x, rate, seed))
    groups, tail = divmod(size, 8)
    scale_bits = struct.unpack("q", struct.pack("d", 1.0 / (1.0 - rate)))[0]
    dropout_kernel[(max(1, triton.cdiv(groups * 8, chosen.BLOCK)),)](
        y,
        x,
        seed,
        groups,
        tail,
        philox.threshold(rate),
        scale_bits,
        tail > 0,
        chosen.BLOCK,
        num_warps=chosen.num_warps,
        enable_fp_fusion=True,
    )
