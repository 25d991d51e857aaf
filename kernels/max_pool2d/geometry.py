"""Sizes of a pool's launch, for the kernels of maximum and average pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from fastk.kernels.max_pool2d.configurations import Pixels, PoolConfiguration, vector
from fastk.kernels.triton_runtime import architecture, sm_count
from fastk.kernels.window import output_size


class Geometry:
    """What the launchers derive from a pool's arguments; see the attributes.

    Args:
        shape: [B, H, W, C].
        window, strides: of height and width.
        padding: (top, bottom, left, right).

    >>> Geometry((2, 5, 5, 8), (2, 2), (2, 2), (0, 1, 0, 1)).output_shape
    (2, 3, 3, 8)
    """

    def __init__(
        self, shape: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Sequence[int]
    ) -> None:
        batch, height, width, self.channels = shape
        top, bottom, left, right = padding
        rows, columns = output_size(
            (height, width), _pair(window), _pair(strides), (1, 1), ((top, bottom), (left, right))
        )
        self.window, self.strides = _pair(window), _pair(strides)
        self.corner = top, left
        self.output_shape = batch, rows, columns, self.channels
        self.outputs = batch * rows * columns
        self.pixels = batch * height * width
        self.vector = vector(self.channels)
        self.sizes = height, width, rows, columns, self.channels // self.vector
        self.overlap = window[0] > strides[0] or window[1] > strides[1]
        # Cells of the strides' size cover the image, and those with a window begin with it.
        self.cell_size = -(-(height + top) // strides[0]), -(-(width + left) // strides[1])
        self.cells = batch * math.prod(self.cell_size)
        self.uncovered = self.cell_size != (rows, columns) or (height, width) != (
            rows * strides[0],
            columns * strides[1],
        )

    @property
    def moved(self) -> int:
        """What backward goes through: pixels where windows overlap, else cells."""
        return self.pixels if self.overlap else self.cells

    def problem(self, pixels: int, dtype: torch.dtype) -> Pixels:
        """What a configuration is chosen for."""
        return Pixels(pixels, self.channels, dtype, self.window, self.strides, architecture(), sm_count())

    def cut(self, pixels: int, chosen: PoolConfiguration) -> tuple[tuple[int, int], dict[str, Any]]:
        """The grid of programs over so many pixels, and the kernel's block sizes."""
        grid = max(1, -(-pixels // chosen.BLOCK_P)), -(-self.channels // chosen.BLOCK_C)
        blocks = {"VEC": self.vector, "BLOCK_P": chosen.BLOCK_P, "BLOCK_C": chosen.BLOCK_C}
        return grid, {**blocks, "num_warps": chosen.num_warps, "enable_fp_fusion": True}


def place_dtype(window: Sequence[int]) -> torch.dtype:
    """A byte where it counts a window's places, else 32 bits.

    >>> place_dtype((16, 16)), place_dtype((1, 257))
    (torch.uint8, torch.int32)
    """
    return torch.uint8 if math.prod(window) <= 256 else torch.int32


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second
