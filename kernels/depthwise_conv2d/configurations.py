"""Tiles of the depthwise kernels, and which one a call takes.

A thread holds the sums of rows x columns pixels of 16 bytes of channels. 2 x 4 pixels of a 3 x 3 window in bfloat16
take 245 registers on sm_90 and 24.5 instructions a result, 1 x 4 take 30 of them; 4 x 4 spill (232 bytes), as do
2 x 4 of a 5 x 5 window (88 bytes).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Work, example_tensor
from fastk.kernels.tuning import tunable

_LOADS = 28  # pixels that 2 x 4 results meet, beyond which they spill
_MOST_LOADS = 64  # and 1 x 4 of a gradient or of float32, too: of a 7 x 7 window 24 to 56 bytes


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
    """2 x 4 pixels where their sums and what they read fit the registers, else 1 x 4, or 1 x 2 of large windows.

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
        if rows * columns > 16:  # 4 x 4 spill already
            columns = strides[1]
        reached = _reached(rows, window[0], strides[0], dilation[0]) * _reached(
            columns, window[1], strides[1], dilation[1]
        )
        rows = 1 if strides[0] == 1 and (reached > _LOADS or height == 1) else rows
        columns = math.ceil(2 / strides[1]) * strides[1] if reached > _MOST_LOADS else columns
        return StencilConfiguration(rows, columns, block_p, block_c, num_warps)
    reached = (strides[0] + (window[0] - 1) * dilation[0] + 1) * (3 * strides[1] + (window[1] - 1) * dilation[1] + 1)
    columns = 2 if itemsize == 4 and reached > _MOST_LOADS else 4
    return StencilConfiguration(1 if reached > _LOADS or height == 1 else 2, columns, block_p, block_c, num_warps)


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


class Stencil(NamedTuple):
    """A result [batch, height, width, channels], each pixel from a window, or (gradient) that of the input.

    Of the gradient by the kernel, height and width are those of the convolution's result.
    """

    batch: int
    height: int
    width: int
    channels: int
    multiplier: int
    dtype: torch.dtype
    window: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    activation: str | None
    gradient: bool
    architecture: int
    sm_count: int


def candidates(problem: Stencil) -> Iterator[StencilConfiguration]:
    """Tiles of 1 to 4 rows and 2 to 8 columns, or of multiples of the strides near them; of 1 to 32 accesses' width."""
    vector = 16 // problem.dtype.itemsize
    step_r, step_c = problem.strides if problem.gradient else (1, 1)
    shapes = {
        (math.ceil(rows / step_r) * step_r, math.ceil(columns / step_c) * step_c)
        for rows, columns in itertools.product((1, 2, 4), (2, 4, 8))
    }
    for (rows, columns), num_warps, width in itertools.product(sorted(shapes), (2, 4, 8), (1, 2, 4, 8, 16, 32)):
        block_c = width * vector
        if block_c < 2 * problem.channels or width == 1:
            yield StencilConfiguration(rows, columns, max(1, 32 * num_warps * vector // block_c), block_c, num_warps)


def gradient_candidates(problem: Stencil) -> Iterator[StencilConfiguration]:
    """For the gradient by the kernel: 1 to all rows of the window at once, 2 to 8 columns of pixels."""
    vector = 16 // problem.dtype.itemsize
    for rows, columns in itertools.product(range(1, problem.window[0] + 1), (2, 4, 8)):
        for num_warps, width in itertools.product((4, 8), (1, 2, 4, 8, 16)):
            block_c = width * vector
            if rows * problem.window[1] <= 16 and (block_c < 2 * problem.channels or width == 1):
                yield StencilConfiguration(
                    rows, columns, max(1, 32 * num_warps * vector // block_c), block_c, num_warps
                )


def _why_gradient_invalid(configuration: StencilConfiguration, problem: Stencil) -> str | None:
    """None, or why the gradient by the kernel cannot take a tile; its rows are those of the window."""
    return replace(configuration, rows=1).why_invalid((1, 1), False)


def _work(configuration: StencilConfiguration, problem: Stencil) -> Work:
    """A thread keeps the sums of its tile, and reads what the windows over it meet once."""
    c, taps = configuration, math.prod(problem.window)
    down, across = (1, 1) if problem.gradient else problem.strides
    reached = ((c.rows - 1) * down + (problem.window[0] - 1) * problem.dilation[0] + 1) * (
        (c.columns - 1) * across + (problem.window[1] - 1) * problem.dilation[1] + 1
    )
    tiles = problem.batch * math.ceil(problem.height / c.rows) * math.ceil(problem.width / c.columns)
    lanes, size = c.block_p * c.block_c, problem.dtype.itemsize
    pixels = problem.batch * problem.height * problem.width
    read = pixels * down * across if not problem.gradient else pixels / math.prod(problem.strides)
    held = c.rows * c.columns * lanes // (32 * c.num_warps)
    return Work(
        programs=math.ceil(tiles / c.block_p) * math.ceil(problem.channels / c.block_c),
        warps=c.num_warps,
        memory_bytes=(pixels + read) * problem.channels * size,
        operations=2.0 * taps * c.rows * c.columns * lanes,
        copied=reached * lanes * size,
        registers=min(255, 40 + held + lanes // (32 * c.num_warps) * (problem.window[1] + c.columns)),
    )


def _gradient_work(configuration: StencilConfiguration, problem: Stencil) -> Work:
    """Blocks of pixels in turn, a thread keeping sums of rows x window columns."""
    c, size = configuration, problem.dtype.itemsize
    tiles = math.ceil(problem.channels / c.block_c) * math.ceil(problem.window[0] / c.rows)
    positions = problem.batch * problem.height * math.ceil(problem.width / c.columns)
    sums = c.rows * problem.window[1] * 16 // size
    chunks, steps = share_out(math.ceil(positions / c.block_p), tiles, sums, problem.sm_count)
    lanes = c.block_p * c.block_c
    pixels = problem.batch * problem.height * problem.width
    again = math.ceil(problem.window[0] / c.rows)  # for each part of the window all pixels are read
    read = pixels * problem.channels * size * (1 + math.prod(problem.strides)) * again
    return Work(
        programs=chunks * tiles,
        warps=c.num_warps,
        memory_bytes=read + 8.0 * chunks * math.prod(problem.window) * problem.channels,
        steps=steps,
        operations=2.0 * c.rows * problem.window[1] * c.columns * lanes,
        copied=(c.columns + c.rows * (c.columns + problem.window[1])) * lanes * size,
        registers=min(255, 48 + sums),
        launches=2,
    )


def _tensors(problem: Stencil, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int]]:
    """(input, kernel, result of the convolution, corner) of a problem, with the padding that keeps sizes."""
    p, (kh, kw) = problem, problem.window
    inner = max(1, p.channels // p.multiplier) if not p.gradient else p.channels
    kernel = example_tensor((kh, kw, inner, p.multiplier), p.dtype, device, 1)
    size = (p.height, p.width)
    if p.gradient:
        out = tuple(math.ceil(side / stride) for side, stride in zip(size, p.strides, strict=True))
        shapes = (p.batch, *size, inner), (p.batch, *out, inner * p.multiplier)
    else:
        wide = tuple(side * stride for side, stride in zip(size, p.strides, strict=True))
        shapes = (p.batch, *wide, inner), (p.batch, *size, inner * p.multiplier)
    x, y = (example_tensor(shape, p.dtype, device, seed) for shape, seed in zip(shapes, (2, 3), strict=True))
    corner = tuple((side - 1) * reach // 2 for side, reach in zip(p.window, p.dilation, strict=True))
    return x, kernel, y, (corner[0], corner[1])


def _example(problem: Stencil, device: str) -> tuple:
    x, kernel, y, corner = _tensors(problem, device)
    if problem.gradient:
        return x, None, y, kernel, None, problem.strides, corner, problem.dilation, None, True
    return y, None, x, kernel, None, problem.strides, corner, problem.dilation, problem.activation, False


def _gradient_example(problem: Stencil, device: str) -> tuple:
    x, kernel, y, corner = _tensors(problem, device)
    return y, x, kernel, problem.strides, corner, problem.dilation


TUNABLE = tunable(
    name="depthwise_conv2d.stencil",
    problem=Stencil,
    sizes=("batch", "height", "width"),
    kinds=(StencilConfiguration,),
    default=lambda p: choose_configuration(
        p.window, p.strides, p.dilation, p.channels, p.height, p.dtype.itemsize, p.gradient
    ),
    candidates=candidates,
    why_invalid=lambda c, p: c.why_invalid(p.strides, p.gradient),
    work=_work,
    launcher="fastk.kernels.depthwise_conv2d.triton_kernels:stencil",
    example=_example,
    accuracy=lambda p: Accuracy(length=math.prod(p.window) * p.multiplier),
    in_place=True,
)
KERNEL_GRADIENT = replace(
    TUNABLE,
    name="depthwise_conv2d.kernel_gradient",
    default=lambda p: choose_gradient_configuration(p.window, p.channels, p.dtype.itemsize),
    candidates=gradient_candidates,
    why_invalid=_why_gradient_invalid,
    work=_gradient_work,
    launcher="fastk.kernels.depthwise_conv2d.triton_kernels:depthwise_kernel_gradient",
    example=_gradient_example,
    accuracy=lambda p: Accuracy(length=max(1, p.batch * p.height * p.width)),
    in_place=False,
)
