"""What of max pooling is compiled and checked: windows side by side and overlapping, blocks of channels, dtypes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.max_pool2d.configurations import SHIPPED, PoolConfiguration, choose_configuration
from fastk.kernels.max_pool2d.geometry import Geometry, place_dtype
from fastk.kernels.max_pool2d.triton_kernels import max_pool2d_backward, max_pool2d_forward
from fastk.kernels.verify.case import Case

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BESIDE = (2, 2), (2, 2), (0, 0, 0, 0)
OVERLAP = (3, 3), (2, 2), (0, 1, 0, 1)
LARGE = (5, 5), (5, 5), (0, 1, 0, 1)
WINDOWS = {"2x2/2": BESIDE, "3x3/2 same": OVERLAP, "5x5/5 same": LARGE}


def shape_for(configuration: PoolConfiguration) -> tuple[int, int, int, int]:
    """Images for which a configuration is chosen; their channels are a multiple of 8, not of 16, where it is wide."""
    return 64, 28, 28, {128: 1000, 64: 184, 32: 24, 16: 40, 8: 8, 4: 3, 1: 1}[configuration.BLOCK_C]


def shipped(dtype: str) -> Iterator[tuple[PoolConfiguration, str, bool, bool]]:
    """(configuration, in words, accesses are wide, in the test command) for a dtype."""
    for configuration in SHIPPED:
        channels = shape_for(configuration)[3]
        if choose_configuration(channels, DTYPES[dtype].itemsize) == configuration:
            words = f"{configuration.BLOCK_P}x{configuration.BLOCK_C} w{configuration.num_warps}"
            yield configuration, words, channels % 8 == 0, channels == 1000


def _forward(dtype: str, configuration: PoolConfiguration, window, strides, padding, save: bool) -> None:
    x = torch.empty(shape_for(configuration), dtype=DTYPES[dtype], device="meta")
    max_pool2d_forward(x, window, strides, padding, save, configuration)


def _backward(dtype: str, configuration: PoolConfiguration, window, strides, padding) -> None:
    shape = shape_for(configuration)
    outputs = Geometry(shape, window, strides, padding).output_shape
    g = torch.empty(outputs, dtype=DTYPES[dtype], device="meta")
    place = torch.empty(outputs, dtype=place_dtype(window), device="meta")
    max_pool2d_backward(g, place, shape, window, strides, padding, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration; large windows and inference with one of each dtype."""
    forward_kernel = "max_pool2d_forward_kernel"
    for dtype in DTYPES:
        for configuration, words, wide, common in shipped(dtype):
            for name, geometry in WINDOWS.items() if common else list(WINDOWS.items())[:2]:
                variant, beside, overlap = f"{words} {name}", geometry is BESIDE, geometry is OVERLAP
                forward = partial(_forward, dtype, configuration, *geometry)
                quick = common and beside
                yield Case(forward_kernel, variant, dtype, partial(forward, True), wide=wide, quick=quick)
                if common:
                    yield Case(forward_kernel, f"{variant} inference", dtype, partial(forward, False))
                kernel = "max_pool2d_gather_kernel" if overlap else "max_pool2d_scatter_kernel"
                backward = partial(_backward, dtype, configuration, *geometry)
                # A gather's bytes, one an element of each window, look like one access in pieces; its dy is loaded as
                # that of average_pool2d, whose gather passes the gate.
                wide_places = wide and not overlap
                yield Case(kernel, variant, dtype, backward, wide=wide_places, quick=common and (beside or overlap))
