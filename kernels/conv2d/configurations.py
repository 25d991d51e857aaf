"""Tiles of the convolution kernels, which of them are shipped, and which one a call takes.

A program computes BLOCK_M x BLOCK_N of the product and steps through K by BLOCK_K. Every tile was compiled for every
architecture that it is shipped for, without spills and with wgmma that are not serialised. Where ptxas fails on one
architecture another one stands in, with what failed beside it.
"""

from __future__ import annotations

import functools

from fastk.kernels.gemm_configurations import ARCHITECTURES, GemmConfiguration, tiles

T = GemmConfiguration

# By kind of arithmetic, from the largest tile to the smallest.
_CORRELATION = {
    "half": (
        T(128, 256, 64, 8, 3),
        T(128, 128, 64, 8, 3),
        T(128, 64, 64, 4, 4),
        T(64, 64, 64, 4, 4),
        T(128, 32, 64, 4, 4),
        T(128, 64, 32, 4, 4),
        T(128, 32, 32, 4, 4),
    ),
    "tf32": (T(128, 128, 32, 8, 3), T(128, 64, 32, 4, 3), T(64, 64, 32, 8, 3), T(128, 32, 32, 4, 3)),
    "tf32x3": (T(128, 64, 32, 8, 3), T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),  # 128 x 128: 504 bytes on sm_80
    "ieee": (T(128, 64, 16, 8, 2), T(64, 64, 16, 4, 2), T(64, 32, 16, 4, 2)),
}
_CORRELATION_INSTEAD: dict[tuple[int, str, GemmConfiguration], GemmConfiguration] = {
    (100, "tf32x3", T(128, 64, 32, 8, 3)): T(128, 64, 32, 4, 3),  # 16 bytes, and 48 in place of those on sm_90
}
_GRADIENT = {
    "half": (
        T(128, 256, 64, 8, 3),
        T(128, 128, 64, 8, 3),
        T(128, 64, 64, 8, 3),
        T(64, 64, 64, 4, 4),
        T(64, 32, 64, 4, 4),
    ),
    "tf32": (T(128, 128, 32, 8, 3), T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "tf32x3": (T(64, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "ieee": (T(64, 64, 16, 8, 2), T(64, 32, 16, 4, 2)),
}
_GRADIENT_INSTEAD: dict[tuple[int, str, GemmConfiguration], GemmConfiguration] = {
    (90, "half", T(128, 128, 64, 8, 3)): T(128, 128, 64, 4, 3),  # C7515: wgmma serialised; 136 bytes on sm_80
}


@functools.cache
def shipped(kind: str, architecture: int, by_kernel: bool = False) -> tuple[GemmConfiguration, ...]:
    """The tiles of a kind of arithmetic, for the correlation or (by_kernel) the gradient by the kernel."""
    table, instead = (_GRADIENT, _GRADIENT_INSTEAD) if by_kernel else (_CORRELATION, _CORRELATION_INSTEAD)
    nearest = max(a for a in ARCHITECTURES if a <= architecture or a == ARCHITECTURES[0])
    return tuple(instead.get((nearest, kind, t)) or t for t in table[kind])


@functools.cache
def choose_configuration(
    M: int, N: int, K: int, copies: int, packable: bool, saves: bool, kind: str, architecture: int, sm_count: int
) -> GemmConfiguration:
    """The largest tile that N fills and that leaves one for every SM, else the smallest of those that are most.

    Args:
        M: pixels.
        N: output channels of a group.
        K: input channels of a group.
        copies: how often the grid holds such a product (groups x phases).
        packable: whether the loop can go over all columns of a patch at once, so that BLOCK_K need not divide K.
        saves: whether the epilogue writes two results: with 128 accumulators a thread it spills (gelu: 328 bytes).
        kind: of `kind_of`.
        architecture: of the device, as 10 major + minor.
        sm_count: of the device.
    """
    width = max(32, min(128 if saves else 256, 1 << (N - 1).bit_length()))
    depth = 64 if packable or K % 64 == 0 or K % 64 > 32 else 32
    fitting = [t for t in shipped(kind, architecture) if t.block_n <= width and t.block_k <= depth]
    fitting = [t for t in fitting if t.block_k == fitting[0].block_k] if kind == "half" else fitting
    filling = [t for t in fitting if tiles(t, M, N) * copies >= sm_count]
    return filling[0] if filling else max(fitting, key=lambda t: (tiles(t, M, N), -t.block_m * t.block_n))


@functools.cache
def choose_gradient_configuration(M: int, N: int, kind: str, architecture: int) -> GemmConfiguration:
    """The largest tile that the patch (M = R S C) and the filters (N) of a group fill: K makes up for the rest."""
    width, height = max(32, 1 << (N - 1).bit_length()), max(64, 1 << (M - 1).bit_length())
    fitting = shipped(kind, architecture, by_kernel=True)
    return next((t for t in fitting if t.block_n <= width and t.block_m <= height), fitting[-1])
