"""Tiles of the matrix products of dense, which of them are shipped, and which one a call takes.

A program makes block_m x block_n of the product and steps through K by block_k. Every tile below is compiled for the
architectures it is shipped for; the gates of `python -m fastk.kernels report` say what it needs there.
"""

from __future__ import annotations

import functools

from fastk.kernels.gemm_configurations import GemmConfiguration, cheapest, compiled_for, tiles

GROUP_M = 8  # rows of tiles that are made at the same time, and share columns of B in L2

G = GemmConfiguration
# By kind of arithmetic, from the largest tile to the smallest.
_POINTERS = {
    "half": (G(128, 64, 64, 8, 4), G(64, 64, 64, 4, 4), G(64, 32, 64, 4, 4)),
    "tf32": (G(128, 64, 32, 8, 3), G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "tf32x3": (G(64, 64, 32, 4, 3), G(64, 32, 32, 4, 3)),
    "ieee": (G(64, 64, 16, 4, 2), G(64, 32, 16, 4, 2)),
}
# On sm_90 ptxas serialises its wgmma (C7515). On 4 warps dropout spills 64 bytes, in one part erf and dropout spill 16.
_WITHOUT_TMA = G(128, 128, 64, 8, 3, parts=2)
_DESCRIPTORS = {
    "half": (G(128, 256, 64, 8, 3, True, 4), G(128, 128, 64, 8, 4, True, 2)),
    "tf32": (G(128, 256, 32, 8, 3, True, 4), G(128, 128, 32, 8, 4, True, 2)),
    "tf32x3": (G(128, 128, 32, 8, 3, True, 2),),  # 184 to 204 registers already: both operands are there in two parts
    "ieee": (),
}


# Registers a thread may have in a product without an epilogue. Left to itself ptxas aims at fewer, and spills 16 bytes.
_REGISTERS = {(90, "ieee", G(64, 64, 16, 4, 2)): 104}


def most_registers(tile: G, kind: str, architecture: int) -> int | None:
    """What a thread of a product without an epilogue may have at most; None leaves it to ptxas."""
    return _REGISTERS.get((compiled_for(architecture), kind, tile))


@functools.cache
def shipped(kind: str, architecture: int) -> tuple[G, ...]:
    """The tiles for a kind of arithmetic, largest first."""
    larger = _DESCRIPTORS[kind] if architecture >= 90 else (_WITHOUT_TMA,) if kind == "half" else ()
    return larger + _POINTERS[kind]


@functools.cache
def choose_configuration(M: int, N: int, kind: str, aligned: bool, architecture: int, sm_count: int) -> G:
    """The cheapest tile of those that leave one for every SM, else of those that are most.

    Args:
        M: rows of the product.
        N: its columns.
        kind: of `kind_of`.
        aligned: whether all three matrices can be described to TMA.
        architecture: 10 major + minor of the compute capability.
        sm_count: of the device.
    """
    width = max(32, 1 << (N - 1).bit_length())  # a tile wider than the product multiplies nothing but zeros
    fitting = [t for t in shipped(kind, architecture) if t.block_n <= width and (aligned or not t.descriptors)]
    enough = min(sm_count, max(tiles(tile, M, N) for tile in fitting))
    return cheapest([tile for tile in fitting if tiles(tile, M, N) >= enough], M, N, 64)
