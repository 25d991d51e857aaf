r"""Matrix products whose epilogue adds a bias, activates and drops: the three GEMMs of dense.

    C [M, N] = epilogue(A [M, K] B [K, N])

    forward     C = y    A = x             B = W
    dx          C = dx   A = g'            B = W^T, read from W   (TRANS_B)
    dW          C = dW   A = x^T, read from x (TRANS_A)   B = g'

    epilogue(z) = dropout(activation(z + bias)); the mask is that of `kernels.dropout`

Every tensor is contiguous and row-major, so that sizes are strides. A program makes one tile of C, or one tile of one
of SPLITS partial products over a part of K, which `sum_partials` adds up in a fixed order. Tiles are taken in columns
of GROUP_M tiles, so that the programs that run at once share rows of A and columns of B in L2.

Two kernels: `gemm_kernel` reads through pointers, `gemm_descriptor_kernel` (sm_90 on) through TMA and is persistent:
as many programs as the GPU runs at once, each making one tile after the other.
Sizes come as a count of units: a size divisible by 8 and not by 16 would be taken for any number, and its copies
be split into single elements.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from fastk.autotune import configuration_for
from fastk.kernels.activation import saves_input
from fastk.kernels.activation.triton_kernels import activate
from fastk.kernels.dense.configurations import GROUP_M, TUNABLE, Product, most_registers
from fastk.kernels.dropout.philox import threshold
from fastk.kernels.dropout.triton_kernels import keep_tile
from fastk.kernels.gemm_configurations import GemmConfiguration, kind_of, splits_of, tiles
from fastk.kernels.triton_reduction import sum_partials
from fastk.kernels.triton_runtime import architecture, float32_precision, sm_count

# Tensor cores take 32-bit operands with K innermost alone. What lies otherwise is turned in memory first, so that
# copies are 16 bytes wide. In tf32x3 B is split in registers on its way anyway, and turned there, at the cost of
# narrower stores to shared memory: turning 8 K N bytes is little beside 6 M N K operations from this M on.
_TURNS_FROM = 4096


@triton.jit
def tile_of(pid, grid_m, grid_n, GROUP_M: tl.constexpr):
    """(row, column) of the pid-th tile."""
    in_group = GROUP_M * grid_n
    first = pid // in_group * GROUP_M
    rows = min(grid_m - first, GROUP_M)
    return first + pid % in_group % rows, pid % in_group // rows


@triton.jit
def epilogue(
    acc, bias, start_m, start_n, N, seed_ptr, threshold, scale,
    HAS_BIAS: tl.constexpr, ACTIVATION: tl.constexpr, SAVES: tl.constexpr, DROPS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """(the output, the pre-activation) of a tile of products that starts at (start_m, start_n)."""
    if HAS_BIAS:
        acc += bias.to(acc.dtype)[None, :]
    y = activate(acc, ACTIVATION)
    if DROPS:
        offs_m = start_m.to(tl.int64) + tl.arange(0, BLOCK_M)
        kept = keep_tile(offs_m, start_n // 8, N // 8, seed_ptr, threshold, BLOCK_M, BLOCK_N)
        y = tl.where(kept, y * scale, 0.0)
    return y, acc


@triton.jit
def halves(tile):
    """The left and the right half of a tile."""
    half: tl.constexpr = tile.shape[1] // 2
    return tl.split(tl.permute(tl.reshape(tile, (tile.shape[0], 2, half)), (0, 2, 1)))


@triton.jit
def columns(tile, PARTS: tl.constexpr):
    """The tile cut into PARTS (1, 2, 4) side by side: an epilogue on one after the other needs fewer registers."""
    if PARTS == 1:
        parts = (tile,)
    else:
        left, right = halves(tile)
        if PARTS == 2:
            parts = (left, right)
        else:
            a, b = halves(left)
            c, d = halves(right)
            parts = (a, b, c, d)
    return parts


@triton.jit
def gemm_kernel(
    c_ptr, saved_ptr, a_ptr, b_ptr, bias_ptr, seed_ptr, m_units, n_units, k_units, threshold, scale,
    UNIT_M: tl.constexpr, UNIT_N: tl.constexpr, UNIT_K: tl.constexpr, TRANS_A: tl.constexpr, TRANS_B: tl.constexpr,
    HAS_BIAS: tl.constexpr, ACTIVATION: tl.constexpr, SAVES: tl.constexpr, DROPS: tl.constexpr, SPLITS: tl.constexpr,
    EVEN_K: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One tile of C (or of one of SPLITS partial products in c [SPLITS, M, N]); axis 1 of the grid is the split."""
    M, N, K = m_units * UNIT_M, n_units * UNIT_N, k_units * UNIT_K
    grid_m, grid_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    pid_m, pid_n = tile_of(tl.program_id(0), grid_m, grid_n, GROUP_M)
    split = tl.program_id(1)
    tiles = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLITS)  # k-steps a split
    start = split * tiles * BLOCK_K
    stop = min(start + tiles * BLOCK_K, K)

    offs_m = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    rows_m, rows_n, first = offs_m.to(tl.int64), offs_n.to(tl.int64), start.to(tl.int64)
    # Rows past the end are read but never used: where they are the outer axis they become row 0, without a mask.
    if TRANS_A:
        a_ptrs = a_ptr + (first + offs_k)[None, :] * M + offs_m[:, None]
        mask_a, step_a = offs_m[:, None] < M, tl.full((), BLOCK_K, tl.int64) * M
    else:
        a_ptrs = a_ptr + tl.where(offs_m < M, rows_m, 0)[:, None] * K + (first + offs_k)[None, :]
        mask_a, step_a = tl.full((1, 1), True, tl.int1), BLOCK_K
    if TRANS_B:
        b_ptrs = b_ptr + tl.where(offs_n < N, rows_n, 0)[None, :] * K + (first + offs_k)[:, None]
        mask_b, step_b = tl.full((1, 1), True, tl.int1), BLOCK_K
    else:
        b_ptrs = b_ptr + (first + offs_k)[:, None] * N + offs_n[None, :]
        mask_b, step_b = offs_n[None, :] < N, tl.full((), BLOCK_K, tl.int64) * N

    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACC)
    for k in range(start, stop, BLOCK_K):
        if EVEN_K:
            a = tl.load(a_ptrs, mask=mask_a, other=0.0)  # [BLOCK_M, BLOCK_K]
            b = tl.load(b_ptrs, mask=mask_b, other=0.0)  # [BLOCK_K, BLOCK_N]
        else:
            a = tl.load(a_ptrs, mask=mask_a & (offs_k[None, :] < stop - k), other=0.0)
            b = tl.load(b_ptrs, mask=mask_b & (offs_k[:, None] < stop - k), other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        a_ptrs += step_a
        b_ptrs += step_b

    mask_m, row = offs_m[:, None] < M, (split.to(tl.int64) * M + rows_m)[:, None] * N
    parts = columns(acc, PARTS)
    for part in tl.static_range(PARTS):
        column = pid_n * BLOCK_N + part * (BLOCK_N // PARTS)
        offs_n = column + tl.arange(0, BLOCK_N // PARTS)
        bias = tl.load(bias_ptr + offs_n, mask=offs_n < N, other=0.0) if HAS_BIAS else None  # [BLOCK_N // PARTS]
        y, z = epilogue(
            parts[part], bias, pid_m * BLOCK_M, column, N, seed_ptr, threshold, scale,
            HAS_BIAS, ACTIVATION, SAVES, DROPS, BLOCK_M, BLOCK_N // PARTS,
        )  # fmt: skip
        offs, mask = row + offs_n[None, :], mask_m & (offs_n[None, :] < N)
        tl.store(c_ptr + offs, y.to(c_ptr.dtype.element_ty), mask=mask)
        if SAVES:
            tl.store(saved_ptr + offs, z.to(saved_ptr.dtype.element_ty), mask=mask)


@triton.jit
def gemm_descriptor_kernel(
    c_desc, saved_desc, a_desc, b_desc, bias_desc, seed_ptr, m_units, n_units, k_units, threshold, scale,
    UNIT_M: tl.constexpr, UNIT_N: tl.constexpr, UNIT_K: tl.constexpr, TRANS_A: tl.constexpr, TRANS_B: tl.constexpr,
    HAS_BIAS: tl.constexpr, ACTIVATION: tl.constexpr, SAVES: tl.constexpr, DROPS: tl.constexpr, SPLITS: tl.constexpr,
    PRECISION: tl.constexpr, PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Tiles of C, num_programs apart; what lies outside of A and B is read as 0, what lies outside of C not stored."""
    M, N, K = m_units * UNIT_M, n_units * UNIT_N, k_units * UNIT_K
    grid_m, grid_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    tiles = grid_m * grid_n
    steps = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLITS)
    tl.assume(steps > 0)  # or the epilogue is compiled twice, for tiles without a step
    for tile in tl.range(tl.program_id(0), tiles * SPLITS, tl.num_programs(0)):
        split = tile // tiles
        pid_m, pid_n = tile_of(tile % tiles, grid_m, grid_n, GROUP_M)
        start_m, start_n = pid_m * BLOCK_M, pid_n * BLOCK_N
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(steps):
            k = (split * steps + step) * BLOCK_K
            a = a_desc.load([k, start_m]).T if TRANS_A else a_desc.load([start_m, k])  # [BLOCK_M, BLOCK_K]
            b = b_desc.load([start_n, k]).T if TRANS_B else b_desc.load([k, start_n])  # [BLOCK_K, BLOCK_N]
            acc = tl.dot(a, b, acc, input_precision=PRECISION)
        parts = columns(acc, PARTS)
        for part in tl.static_range(PARTS):
            column = start_n + part * (BLOCK_N // PARTS)
            bias = bias_desc.load([column]) if HAS_BIAS else None  # [BLOCK_N // PARTS]
            y, z = epilogue(
                parts[part], bias, start_m, column, N, seed_ptr, threshold, scale,
                HAS_BIAS, ACTIVATION, SAVES, DROPS, BLOCK_M, BLOCK_N // PARTS,
            )  # fmt: skip
            if SPLITS > 1:
                c_desc.store([split, start_m, column], y.to(c_desc.dtype)[None, :, :])
            else:
                c_desc.store([start_m, column], y.to(c_desc.dtype))
            if SAVES:
                saved_desc.store([start_m, column], z.to(saved_desc.dtype))


def gemm(
    a: Tensor,
    b: Tensor,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: Tensor | None = None,
    activation: str | None = None,
    seed: Tensor | None = None,
    rate: float = 0.0,
    configuration: GemmConfiguration | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(epilogue(A B), the product with bias where the activation's derivative needs it).

    Args:
        a: A [M, K], or [K, M] with `trans_a`; contiguous, as all others.
        b: B [K, N], or [N, K] with `trans_b`.
        trans_a: whether A is given transposed.
        trans_b: whether B is.
        bias: [N], or None.
        activation: a name of `kernels.activation`, or None. Without one, and without bias, K may be split.
        seed: int64 [2], with which `rate` of the elements are dropped; None drops none. N is then a multiple of 8.
        rate: less than 1.
        configuration: None for the one that fits the sizes.
    """
    M, K = (a.size(1), a.size(0)) if trans_a else a.shape
    N = b.size(0) if trans_b else b.size(1)
    precision = float32_precision() if a.dtype == torch.float32 else "ieee"
    if not trans_b and (precision == "tf32" or (precision == "tf32x3" and M >= _TURNS_FROM)):
        b, trans_b = b.t().contiguous(), True
    c = torch.empty((M, N), dtype=a.dtype, device=a.device)
    saved = torch.empty_like(c) if saves_input(activation) else None
    if not c.numel():
        return c, saved
    matrices = (a, b, c) if bias is None else (a, b, c, bias)
    wide = 16 // a.element_size()
    aligned = K > 0 and all(t.size(-1) % wide == 0 and t.data_ptr() % 16 == 0 for t in matrices)
    kind = kind_of(a.dtype, precision)
    plain = bias is None and activation in (None, "linear") and seed is None
    chosen = configuration or configuration_for(
        TUNABLE,
        Product(
            M, N, K, a.dtype, kind, trans_a, trans_b, bias is not None, activation,
            seed is not None, aligned, architecture(), sm_count(),
        ),
        (a, b, trans_a, trans_b, bias, activation, seed, rate),
    )  # fmt: skip
    count = tiles(chosen, M, N)
    splits = (chosen.splits or splits_of(count, triton.cdiv(K, chosen.block_k), sm_count())[0]) if plain else 1
    out = torch.empty((splits, M, N), dtype=torch.float32, device=a.device) if splits > 1 else c
    flags = {
        "TRANS_A": trans_a,
        "TRANS_B": trans_b,
        "HAS_BIAS": bias is not None,
        "ACTIVATION": activation,
        "SAVES": saved is not None,
        "DROPS": seed is not None,
        "SPLITS": splits,
        "PRECISION": precision,
        "PARTS": chosen.parts,
        "BLOCK_M": chosen.block_m,
        "BLOCK_N": chosen.block_n,
        "BLOCK_K": chosen.block_k,
        "GROUP_M": GROUP_M,
        "num_warps": chosen.num_warps,
        "enable_fp_fusion": True,
        "num_stages": chosen.num_stages,
    }
    units = [math.gcd(size, wide) for size in (M, N, K)]
    counts = [size // unit for size, unit in zip((M, N, K), units, strict=True)]
    scalars = (seed, *counts, threshold(rate), 1.0 / (1.0 - rate), *units)
    if chosen.descriptors:
        width = chosen.block_n // chosen.parts
        stored = [1, chosen.block_m, width] if splits > 1 else [chosen.block_m, width]
        gemm_descriptor_kernel[(min(count * splits, sm_count()),)](
            _described(out, stored),
            None if saved is None else _described(saved, stored),
            _described(a, [chosen.block_k, chosen.block_m] if trans_a else [chosen.block_m, chosen.block_k]),
            _described(b, [chosen.block_n, chosen.block_k] if trans_b else [chosen.block_k, chosen.block_n]),
            None if bias is None else _described(bias, [width]),
            *scalars, **flags,
        )  # fmt: skip
    else:
        gemm_kernel[(count, splits)](
            out, saved, a, b, bias, *scalars, **flags, EVEN_K=K % chosen.block_k == 0,
            maxnreg=most_registers(chosen, kind, architecture()) if plain else None,
            ACC=tl.float64 if a.dtype == torch.float64 else tl.float32,
        )  # fmt: skip
    return (sum_partials(out, c.dtype) if splits > 1 else c), saved


def _described(tensor: Tensor, block: list[int]) -> TensorDescriptor:
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), block)
