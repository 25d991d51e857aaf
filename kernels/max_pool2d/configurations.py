"""How the streaming kernels over images, channels last, are cut into programs: pools, forward and backward."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from fastk.autotune import Accuracy, Tunable, Work, example_tensor
from fastk.autotune.model import bursts
from fastk.kernels.tuning import tunable

_THREADS = 128


@dataclass(frozen=True)
class PoolConfiguration:
    """BLOCK_P pixels times BLOCK_C channels a program, by num_warps warps."""

    BLOCK_P: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: a thread must have one 128-bit access of the image and a whole part of places.

        More elements a thread than that, and the bytes of the places are laid out for wider accesses than the floats:
        Triton then takes the floats through shared memory, with a barrier a tap.
        """
        share = self.BLOCK_P * self.BLOCK_C // (32 * self.num_warps)
        return None if share in (4, 8) else f"a thread would have {share} elements, not 4 (32 bits) or 8 (16 bits)"


# With fewer than 8 channels nothing is wide, and 8 elements a thread of a half type spill on sm_80 (3x3 windows).
_HALF = tuple(
    PoolConfiguration(_THREADS * share // channels, channels, _THREADS // 32)
    for channels, share in ((128, 8), (64, 8), (32, 8), (16, 8), (8, 8), (4, 4), (1, 4))
)
_WIDE = tuple(
    PoolConfiguration(_THREADS * 4 // channels, channels, _THREADS // 32) for channels in (128, 64, 32, 16, 8, 4, 1)
)
SHIPPED = tuple(dict.fromkeys((*_HALF, *_WIDE)))


@functools.lru_cache(maxsize=1024)
def choose_configuration(channels: int, itemsize: int) -> PoolConfiguration:
    """The block of channels that leaves fewest lanes idle, where less than a 32-byte sector counts as one.

    itemsize: bytes of an element.

    >>> [choose_configuration(channels, 2).BLOCK_C for channels in (1000, 256, 96, 64, 40, 10, 3)]
    [128, 128, 32, 64, 16, 16, 4]
    """

    def cost(configuration: PoolConfiguration) -> tuple[int, int, int]:
        block = configuration.BLOCK_C
        programs = -(-channels // block)
        # What a program does for each pixel, whatever its channels, is worth 4 lanes.
        return programs * (max(block, 16) + 4), programs * block, -block

    return min(_HALF if itemsize == 2 else _WIDE, key=cost)


def vector(channels: int) -> int:
    """The largest power of two up to 16 that divides `channels`: what the compiler is told of addresses.

    >>> vector(1000), vector(64), vector(3)
    (8, 16, 1)
    """
    return min(16, channels & -channels)


class Pixels(NamedTuple):
    """What a launch goes through: pixels of `channels`, each with a window.

    pixels: of the result forward; backward of the image where windows overlap, else cells of the strides' size.
    """

    pixels: int
    channels: int
    dtype: torch.dtype
    window: tuple[int, int]
    strides: tuple[int, int]
    architecture: int
    sm_count: int

    @property
    def overlap(self) -> bool:
        """Whether a pixel of the image is in several windows."""
        return self.window[0] > self.strides[0] or self.window[1] > self.strides[1]


SPACE = tuple(
    PoolConfiguration(32 * num_warps * share // channels, channels, num_warps)
    for channels, num_warps, share in itertools.product((1, 4, 8, 16, 32, 64, 128, 256), (1, 2, 4, 8), (4, 8))
    if 32 * num_warps * share >= channels
)


def work(configuration: PoolConfiguration, problem: Pixels) -> Work:
    """A load of the image for each place of the window, a store of the result; lanes without a channel are idle."""
    tile = configuration.BLOCK_P * configuration.BLOCK_C
    blocks = math.ceil(problem.channels / configuration.BLOCK_C)
    size, taps = problem.dtype.itemsize, math.prod(problem.window)
    waste = bursts(configuration.BLOCK_C * size) if problem.channels > configuration.BLOCK_C else 1.0
    new = min(taps, math.prod(problem.strides))  # pixels of the image that no neighbour reads
    return Work(
        programs=math.ceil(problem.pixels / configuration.BLOCK_P) * blocks,
        warps=configuration.num_warps,
        memory_bytes=problem.pixels * problem.channels * size * (1 + new) * waste,
        operations=(40.0 * configuration.BLOCK_P + 4.0 * tile) * taps,
        copied=tile * size * taps,
        registers=32 + 4 * tile // (32 * configuration.num_warps),
    )


def image_of(problem: Pixels, backward: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """An image and a result of such pixels, [1, H, W, C] each."""
    rows = max(1, math.isqrt(problem.pixels))
    size = rows, math.ceil(problem.pixels / rows)
    if backward and problem.overlap:
        image = tuple(max(side, w) for side, w in zip(size, problem.window, strict=True))
    else:
        steps = zip(size, problem.strides, problem.window, strict=True)
        image = tuple((side - 1) * stride + w for side, stride, w in steps)
    steps = zip(image, problem.strides, problem.window, strict=True)
    result = tuple((side - w) // stride + 1 for side, stride, w in steps)
    return (1, *image, problem.channels), (1, *result, problem.channels)


def tunable_of(op: str, way: str, example: Callable[[Pixels, str], tuple]) -> Tunable:
    """The choice of a pool, `way` being "forward" or "backward"."""
    return tunable(
        name=f"{op}.{way}",
        problem=Pixels,
        sizes=("pixels",),
        kinds=(PoolConfiguration,),
        default=lambda p: choose_configuration(p.channels, p.dtype.itemsize),
        candidates=lambda p: SPACE,
        why_invalid=lambda c, p: c.why_invalid(),
        work=work,
        launcher=f"fastk.kernels.{op}.triton_kernels:{op}_{way}",
        example=example,
        accuracy=lambda p: Accuracy(length=math.prod(p.window)),
    )


def _forward_example(problem: Pixels, device: str) -> tuple:
    image, _ = image_of(problem, False)
    return example_tensor(image, problem.dtype, device), problem.window, problem.strides, (0, 0, 0, 0), True


def _backward_example(problem: Pixels, device: str) -> tuple:
    image, result = image_of(problem, True)
    place = torch.zeros(result, dtype=torch.uint8, device=device)
    g = example_tensor(result, problem.dtype, device)
    return g, place, image, problem.window, problem.strides, (0, 0, 0, 0)


FORWARD = tunable_of("max_pool2d", "forward", _forward_example)
BACKWARD = tunable_of("max_pool2d", "backward", _backward_example)
