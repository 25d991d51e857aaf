"""Tiles of the depthwise kernels, and which one a call takes.

A thread holds the sums of rows x columns pixels of 16 bytes of channels. 2 x 4 pixels of a 3 x 3 window in bfloat16
take 245 registers on sm_90 and 24.5 instructions a result, 1 x 4 take 30 of them; 4 x 4 spill (232 bytes), as do
2 x 4 of a 5 x 5 window (88 bytes).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

_LOADS = 28  # pixels of a tile, beyond which 2 x 4 results spill


@dataclass(frozen=True)
class StencilConfiguration:
    """Tiles of rows x columns pixels, block_p of them by block_c channels a program."""

    rows: int
    columns: int
    block_p: int
    block_c: int
    num_warps: int

    def why_invalid(self, strides: tuple[int, int], gradient: bool) -> str | None:
        """None, or why it cannot run; the tiles of a gradient begin at multiples of the strides."""
        if self.block_p & (self.block_p - 1) or self.block_c & (self.block_c - 1):
            return f"block_p and block_c must be powers of two: {self}"
        if gradient and (self.rows % strides[0] or self.columns % strides[1]):
            return f"tiles of a gradient must be multiples of the strides {strides}, and are {self.rows}x{self.columns}"
        held = self.rows * self.columns * self.block_p * self.block_c // (32 * self.num_warps)
        if held > 128:
            return f"{held} sums a thread leave no registers for anything else; at most 128"
        return None


@functools.cache
def choose_configuration(
    window: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    channels: int,
    height: int,
    itemsize: int,
    gradient: bool,
) -> StencilConfiguration:
    """2 x 4 pixels where their sums and what they read fit the registers, else 1 x 4.

    Args:
        window: of the kernel.
        strides: of the forward convolution.
        dilation: of the kernel.
        channels: of the result.
        height: of the result.
        itemsize: bytes of an element.
        gradient: whether of the input.
    """
    block_c, block_p, num_warps = threads(channels, itemsize)
    if gradient:
        columns = math.ceil(4 / strides[1]) * strides[1]
        rows = strides[0] if strides[0] > 1 else 2
        reached = _reached(rows, window[0], strides[0], dilation[0]) * _reached(
            columns, window[1], strides[1], dilation[1]
        )
        rows = 1 if strides[0] == 1 and (reached > _LOADS or height == 1) else rows
        return StencilConfiguration(rows, columns, block_p, block_c, num_warps)
    reached = (strides[0] + (window[0] - 1) * dilation[0] + 1) * (3 * strides[1] + (window[1] - 1) * dilation[1] + 1)
    return StencilConfiguration(1 if reached > _LOADS or height == 1 else 2, 4, block_p, block_c, num_warps)


@functools.cache
def choose_gradient_configuration(window: tuple[int, int], channels: int, itemsize: int) -> StencilConfiguration:
    """For the gradient by the kernel: as many rows of the window as leave at most 10 sums of 16 bytes a thread.

    Of 256 threads, so that a multiprocessor has one row of partial sums, or two.
    """
    block_c, block_p, num_warps = threads(channels, itemsize)
    return StencilConfiguration(min(window[0], max(1, 10 // window[1])), 4, 2 * block_p, block_c, 2 * num_warps)


def share_out(blocks: int, tiles: int, sums: int, processors: int) -> tuple[int, int]:
    """(chunks, steps): `blocks` of pixels in chunks of `steps`, each a program for every one of `tiles`.

    As few waves of programs, up to 4, as have work for nine tenths of the multiprocessors: each chunk is a row of
    partial sums, written and read. sums: of a thread; with 56 it has 128 registers or fewer, and two programs fit.

    >>> [share_out(1000, tiles, sums, processors=132) for tiles, sums in ((1, 72), (1, 36), (100, 72))]
    [(125, 8), (250, 4), (5, 200)]
    """
    places = (2 if sums <= 56 else 1) * processors
    filled = {waves: waves * places // tiles * tiles / (waves * places) for waves in range(1, 5)}
    waves = next((waves for waves, share in filled.items() if share >= 0.9), max(filled, key=lambda w: filled[w]))
    steps = -(-blocks // max(1, waves * places // tiles))
    return -(-blocks // steps), steps


def threads(channels: int, itemsize: int) -> tuple[int, int, int]:
    """(block_c, block_p, num_warps): 128 threads with 16 bytes of channels each, along the channels first."""
    vector = 16 // itemsize
    block_c = max(vector, min(8 * vector, 1 << (channels - 1).bit_length()))
    return block_c, 128 * vector // block_c, 4


def _reached(extent: int, window: int, stride: int, dilation: int) -> int:
    """How many rows of g a tile of `extent` rows meets at most."""
    return (extent - 1 + (window - 1) * dilation) // stride + 1
