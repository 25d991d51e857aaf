"""Tiles of the convolution kernels, which of them are shipped, and which one a call takes.

A program computes BLOCK_M x BLOCK_N of the product and steps through K by BLOCK_K. Every tile was compiled for every
architecture that it is shipped for, without spills and with wgmma that are not serialised. Where ptxas fails on one
architecture another one stands in, with what failed beside it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Work, example_tensor
from fastk.kernels.gemm_configurations import (
    GemmConfiguration,
    cheapest,
    compiled_for,
    product_work,
    space,
    splits_of,
    tiles,
)
from fastk.kernels.tuning import tunable

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
# Registers that a thread may have in the gradient by the input. Left to itself ptxas aims at fewer, and spills 8 to 24
# bytes.
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
    """The tiles of a kind of arithmetic, for the correlation or (by_kernel) the gradient by the kernel.

    On sm_86 and sm_89, which have 99 KiB of shared memory a program, the largest are left out.
    """
    table, instead = (_GRADIENT, _GRADIENT_INSTEAD) if by_kernel else (_CORRELATION, _CORRELATION_INSTEAD)
    nearest = compiled_for(architecture)
    known = (instead.get((nearest, kind, t)) or t for t in table[kind])
    return tuple(t for t in known if t.why_invalid(2 if kind == "half" else 4, architecture) is None)


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


class Correlation(NamedTuple):
    """A correlation as a product: `pixels` x `columns`, over `depth` channels of every place of the window.

    pixels: of the largest phase; phases: products that the strides make of a gradient by the input.
    """

    pixels: int
    columns: int
    depth: int
    groups: int
    window: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    dtype: torch.dtype
    kind: str
    has_bias: bool
    activation: str | None
    saves: bool
    gradient: bool
    architecture: int
    sm_count: int

    @property
    def taps(self) -> int:
        """Places of the window."""
        return math.prod(self.window)

    @property
    def phases(self) -> int:
        """Products of a gradient by the input, each of a part of the window."""
        return math.prod(self.strides) if self.gradient else 1

    @property
    def packable(self) -> bool:
        """Whether the loop can go over all columns of a patch at once."""
        return not self.gradient and self.window != (1, 1)


class KernelGradient(NamedTuple):
    """The gradient by the kernel as a product: `patch` x `columns`, over `pixels` of the result, for each group."""

    patch: int
    columns: int
    pixels: int
    groups: int
    window: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    dtype: torch.dtype
    kind: str
    architecture: int
    sm_count: int


def default(problem: Correlation) -> GemmConfiguration:
    """See `choose_configuration`."""
    p = problem
    return choose_configuration(
        p.pixels, p.columns, p.depth, p.taps, p.groups * p.phases, p.packable, p.saves, p.kind, p.architecture,
        p.sm_count,
    )  # fmt: skip


def work(tile: GemmConfiguration, problem: Correlation) -> Work:
    """A product over all places of the window; a phase has a share of them, and pixels are read once."""
    p, size = problem, problem.dtype.itemsize
    steps = p.taps / p.phases
    K = math.ceil(steps * (p.depth if p.packable else math.ceil(p.depth / tile.block_k) * tile.block_k))
    copies = p.groups * p.phases
    read = p.pixels * p.depth * p.groups * (1 if p.gradient else math.prod(p.strides))
    moved = (read + p.pixels * p.columns * copies * (1 + p.saves) + p.taps * p.depth * p.columns * p.groups) * size
    return product_work(tile, p.pixels, p.columns, max(1, K), p.kind, size, 1, copies, moved)


def gradient_work(tile: GemmConfiguration, problem: KernelGradient) -> Work:
    """A product over the pixels, split among programs."""
    p, size = problem, problem.dtype.itemsize
    count = tiles(tile, p.patch, p.columns) * p.groups
    splits = tile.splits or splits_of(count, math.ceil(p.pixels / tile.block_k), p.sm_count)[0]
    read = p.pixels * p.groups * (p.patch / math.prod(p.window) * math.prod(p.strides) + p.columns) * size
    return product_work(tile, p.patch, p.columns, p.pixels, p.kind, size, splits, p.groups, read)


def candidates(problem: Correlation) -> Iterator[GemmConfiguration]:
    """The tiles that are shipped, and the space of products."""
    yield from shipped(problem.kind, problem.architecture)
    yield from space(problem.kind, False)


def gradient_candidates(problem: KernelGradient) -> Iterator[GemmConfiguration]:
    """Likewise, and those that are shipped with other splits."""
    known = shipped(problem.kind, problem.architecture, by_kernel=True)
    yield from known
    yield from space(problem.kind, False)
    for tile in known:
        yield from (replace(tile, splits=splits) for splits in (1, 2, 4, 8, 16, 32, 64))


def why_invalid(tile: GemmConfiguration, problem: Correlation | KernelGradient) -> str | None:
    """None, or why a tile cannot make this product."""
    if tile.descriptors:
        return "the pixels of a window are read through pointers"
    if tile.splits and not isinstance(problem, KernelGradient):
        return "a correlation is not split"
    if tile.splits and tile.splits > math.ceil(problem.pixels / tile.block_k):
        return f"a sum over {problem.pixels} pixels cannot be split into {tile.splits}"
    return tile.why_invalid(problem.dtype.itemsize, problem.architecture)


def _image(pixels: int) -> tuple[int, int]:
    rows = max(1, math.isqrt(pixels))
    return rows, math.ceil(pixels / rows)


def _padding(window: tuple[int, int], dilation: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """That which keeps sizes."""
    (top, left), (bottom, right) = (
        tuple(((side - 1) * reach + odd) // 2 for side, reach in zip(window, dilation, strict=True)) for odd in (0, 1)
    )
    return (top, bottom), (left, right)


def example(problem: Correlation, device: str) -> tuple:
    """The arguments of the launcher: one image of such pixels."""
    p, size = problem, _image(problem.pixels)
    wide = tuple(side * stride for side, stride in zip(size, p.strides, strict=True))
    result = example_tensor((1, *(wide if p.gradient else size), p.columns * p.groups), p.dtype, device)
    image = example_tensor((1, *(size if p.gradient else wide), p.depth * p.groups), p.dtype, device, 1)
    transposed = not p.gradient and p.dtype == torch.float32 and p.kind != "ieee"
    shape = (*p.window, p.columns, p.depth * p.groups) if p.gradient else (*p.window, p.depth, p.columns * p.groups)
    kernel = example_tensor(shape, p.dtype, device, 2)
    kernel = kernel.permute(3, 0, 1, 2).contiguous() if transposed else kernel
    bias = example_tensor((p.columns * p.groups,), p.dtype, device, 3) if p.has_bias else None
    return (
        result, torch.empty_like(result) if p.saves else None, image, kernel, bias, p.pixels, p.depth, p.columns,
        p.groups, p.window, p.strides, _padding(p.window, p.dilation), p.dilation, p.activation,
        "ieee" if p.kind == "half" else p.kind, p.gradient, transposed,
    )  # fmt: skip


def gradient_example(problem: KernelGradient, device: str) -> tuple:
    """The arguments of `kernel_gradient`."""
    p, size = problem, _image(problem.pixels)
    wide = tuple(side * stride for side, stride in zip(size, p.strides, strict=True))
    x = example_tensor((1, *wide, p.patch // math.prod(p.window) * p.groups), p.dtype, device)
    g = example_tensor((1, *size, p.columns * p.groups), p.dtype, device, 1)
    precision = "ieee" if p.kind == "half" else p.kind
    return x, g, p.window, p.strides, _padding(p.window, p.dilation), p.dilation, p.groups, precision


TUNABLE = tunable(
    name="conv2d.correlation",
    problem=Correlation,
    sizes=("pixels",),
    kinds=(GemmConfiguration,),
    default=default,
    candidates=candidates,
    why_invalid=why_invalid,
    work=work,
    launcher="fastk.kernels.conv2d.triton_correlation:launch",
    example=example,
    accuracy=lambda p: Accuracy(length=max(1, p.taps * p.depth)),
    in_place=True,
)
KERNEL_GRADIENT = tunable(
    name="conv2d.kernel_gradient",
    problem=KernelGradient,
    sizes=("pixels",),
    kinds=(GemmConfiguration,),
    default=lambda p: choose_gradient_configuration(p.patch, p.columns, p.kind, p.architecture),
    candidates=gradient_candidates,
    why_invalid=why_invalid,
    work=gradient_work,
    launcher="fastk.kernels.conv2d.triton_kernel_gradient:kernel_gradient",
    example=gradient_example,
    accuracy=lambda p: Accuracy(length=max(1, p.pixels)),
)
