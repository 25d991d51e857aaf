"""Tiles of the convolution kernels, which of them are shipped, and which one a call takes.

A program computes BLOCK_M x BLOCK_N of the product and steps through K by BLOCK_K. Every tile was compiled for every
architecture that it is shipped for, without spills and with wgmma that are not serialised. Where ptxas fails on one
architecture another one stands in, with what failed beside it.
"""

from __future__ import annotations

import functools

from fastk.kernels.gemm_configurations import GemmConfiguration, cheapest, compiled_for, tiles

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
    (80, "half", T(128, 256, 64, 8, 3)): T(128, 256, 32, 8, 4),  # 8 bytes at 255 registers
    (100, "half", T(64, 64, 64, 4, 4)): T(64, 64, 64, 8, 4),  # 8 bytes at 78 registers
    (100, "tf32x3", T(128, 64, 32, 8, 3)): T(128, 64, 32, 4, 3),  # 16 bytes, and 48 in place of those on sm_90
}
# Registers a thread may have in the gradient by the input. Left to itself ptxas aims at fewer, and spills 8 to 24 bytes.
_CORRELATION_REGISTERS = {
    (80, "half", T(128, 64, 32, 4, 4)): 168,
    (100, "half", T(128, 64, 32, 4, 4)): 128,
    (90, "ieee", T(128, 64, 16, 8, 2)): 128,
    (90, "ieee", T(64, 64, 16, 4, 2)): 128,
    (100, "tf32", T(128, 32, 32, 4, 3)): 104,
}
_GRADIENT = {
    "half": (
        T(128, 256, 64, 8, 3),
        T(128, 128, 64, 8, 3),
        T(128, 64, 64, 8, 3),
        T(64, 64, 64, 4, 4),
        T(32, 64, 64, 4, 4),
        T(64, 32, 64, 4, 4),
    ),
    "tf32": (T(128, 128, 32, 8, 3), T(64, 64, 32, 4, 3), T(32, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "tf32x3": (T(64, 64, 32, 4, 3), T(32, 64, 32, 4, 3), T(64, 32, 32, 4, 3)),
    "ieee": (T(64, 64, 16, 8, 2), T(32, 64, 16, 4, 2), T(64, 32, 16, 4, 2)),
}
_GRADIENT_INSTEAD: dict[tuple[int, str, GemmConfiguration], GemmConfiguration] = {
    (90, "half", T(128, 128, 64, 8, 3)): T(128, 128, 64, 4, 3),  # C7515: wgmma serialised; 136 bytes on sm_80
}


@functools.cache
def shipped(kind: str, architecture: int, by_kernel: bool = False) -> tuple[GemmConfiguration, ...]:
    """The tiles of a kind of arithmetic, for the correlation or (by_kernel) the gradient by the kernel."""
    table, instead = (_GRADIENT, _GRADIENT_INSTEAD) if by_kernel else (_CORRELATION, _CORRELATION_INSTEAD)
    known = compiled_for(architecture)
    return tuple(instead.get((known, kind, t)) or t for t in table[kind])


def most_registers(tile: GemmConfiguration, kind: str, architecture: int) -> int | None:
    """What a thread of the gradient by the input may have at most; None leaves it to ptxas."""
    return _CORRELATION_REGISTERS.get((compiled_for(architecture), kind, tile))


@functools.cache
def choose_configuration(
    M: int, N: int, K: int, taps: int, copies: int, packable: bool, saves: bool, kind: str, architecture: int,
    sm_count: int,
) -> GemmConfiguration:  # fmt: skip
    """The cheapest tile of those that leave one for every SM, else of those that are most.

    Args:
        M: pixels.
        N: output channels of a group.
        K: input channels of a group.
        taps: of the window.
        copies: how often the grid holds such a product (groups x phases).
        packable: whether the loop can go over all columns of a patch at once, so that BLOCK_K need not divide K.
        saves: whether the epilogue writes two results: with 128 accumulators a thread it spills (gelu: 328 bytes).
        kind: of `kind_of`.
        architecture: of the device, as 10 major + minor.
        sm_count: of the device.
    """
    width = max(32, min(128 if saves else 256, 1 << (N - 1).bit_length()))
    fitting = [t for t in shipped(kind, architecture) if t.block_n <= width]
    enough = min(sm_count, max(tiles(t, M, N) for t in fitting) * copies)
    filling = [t for t in fitting if tiles(t, M, N) * copies >= enough]
    return cheapest(filling, M, N, K * taps if packable else K)


@functools.cache
def choose_gradient_configuration(M: int, N: int, kind: str, architecture: int) -> GemmConfiguration:
    """The cheapest tile for patches of M = R S C columns and the N filters of a group: K makes up for few tiles."""
    return cheapest(shipped(kind, architecture, by_kernel=True), M, N, 64)
