"""What of average pooling is compiled and checked, as of max pooling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.average_pool2d.triton_kernels import average_pool2d_backward, average_pool2d_forward
from fastk.kernels.max_pool2d.cases import BESIDE, DTYPES, OVERLAP, WINDOWS, shape_for, shipped
from fastk.kernels.max_pool2d.configurations import PoolConfiguration
from fastk.kernels.max_pool2d.geometry import Geometry
from fastk.kernels.verify.case import Case


def _forward(dtype: str, configuration: PoolConfiguration, window, strides, padding) -> None:
    x = torch.empty(shape_for(configuration), dtype=DTYPES[dtype], device="meta")
    average_pool2d_forward(x, window, strides, padding, configuration)


def _backward(dtype: str, configuration: PoolConfiguration, window, strides, padding) -> None:
    shape = shape_for(configuration)
    outputs = Geometry(shape, window, strides, padding).output_shape
    g = torch.empty(outputs, dtype=DTYPES[dtype], device="meta")
    average_pool2d_backward(g, shape, window, strides, padding, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration; large windows with one of each dtype."""
    for dtype in DTYPES:
        for configuration, words, wide, common in shipped(dtype):
            for name, geometry in WINDOWS.items() if common else list(WINDOWS.items())[:2]:
                variant, beside, overlap = f"{words} {name}", geometry is BESIDE, geometry is OVERLAP
                forward = partial(_forward, dtype, configuration, *geometry)
                quick = common and beside
                yield Case("average_pool2d_forward_kernel", variant, dtype, forward, wide=wide, quick=quick)
                kernel = "average_pool2d_gather_kernel" if overlap else "average_pool2d_scatter_kernel"
                backward = partial(_backward, dtype, configuration, *geometry)
                yield Case(kernel, variant, dtype, backward, wide=wide, quick=common and (beside or overlap))
