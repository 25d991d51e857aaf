"""What is compiled of the convolution: every shipped tile with each dtype, forward and both gradients.

1000 filters are divisible by 8 and not by 16; 24 channels are packed with their window; 3 are, in an unrolled loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fastk.kernels.conv2d.configurations import shipped
from fastk.kernels.conv2d.triton_correlation import correlate, input_gradient
from fastk.kernels.conv2d.triton_kernel_gradient import kernel_gradient
from fastk.kernels.gemm_configurations import ARCHITECTURES, GemmConfiguration
from fastk.kernels.verify.case import Case

_BATCH, _SIZE = 8, 56
_PADDING = ((1, 1), (1, 1))
_DTYPES = {  # name of a case's dtype: (torch's, kind of arithmetic)
    "bf16": (torch.bfloat16, "half"),
    "fp16": (torch.float16, "half"),
    "fp32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "tf32x3": (torch.float32, "tf32x3"),
}


def cases() -> Iterator[Case]:
    """Forward, the gradient by the input, and the gradient by the kernel."""
    for dtype, (_, kind) in _DTYPES.items():
        for tile, architectures in _with_architectures(kind, by_kernel=False):
            first = tile == shipped(kind, 90)[1]
            for variant, launch in _correlations(tile, dtype):
                yield _case("correlation_kernel", f"{tile} {variant}", dtype, launch, architectures, first)
        for tile, architectures in _with_architectures(kind, by_kernel=True):
            first = tile == shipped(kind, 90, by_kernel=True)[1]
            launch = _kernel_gradient(tile, dtype, 1000)
            yield _case("kernel_gradient_kernel", str(tile), dtype, launch, architectures, first)


def _case(kernel, variant, dtype, launch, architectures, first) -> Case:
    quick = first and variant.endswith(("relu", "s2", "w4 s3", "w8 s3", "w4 s4"))
    # Tensor cores take tf32 with K innermost: where K is pixels that is neither operand's order, and copies turn it by
    # 4 bytes at a time. 3 channels fill no 16 bytes.
    wide = not (kernel == "kernel_gradient_kernel" and dtype in ("tf32", "tf32x3")) and "C=3" not in variant
    return Case(
        kernel, variant, dtype, launch,
        tensor_cores=dtype != "fp32", wide=wide, architectures=architectures, quick=quick,
    )  # fmt: skip


def _correlations(tile: GemmConfiguration, dtype: str) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "relu", _forward(tile, dtype, 256, 1000, 3, "relu", saves=False)
    yield "s2 backward", _input_gradient(tile, dtype, 256, 1000, stride=2)
    if tile.block_n <= 128:
        yield "gelu", _forward(tile, dtype, 256, 1000, 3, "gelu", saves=True)
        yield "C=24", _forward(tile, dtype, 24, 1000, 3, None, saves=False)
    if tile.block_n <= 64 and _DTYPES[dtype][1] == "half" and (tile.block_k == 32 or tile.block_m == 64):
        yield "7x7 C=3", _forward(tile, dtype, 3, 64, 7, None, saves=False)


def _with_architectures(kind: str, by_kernel: bool) -> Iterator[tuple[GemmConfiguration, tuple[int, ...]]]:
    """Each tile with the architectures that it is shipped for."""
    tables = {a: shipped(kind, a, by_kernel) for a in ARCHITECTURES}
    for tile in dict.fromkeys(t for table in tables.values() for t in table):
        yield tile, tuple(a for a in ARCHITECTURES if tile in tables[a])


def _empty(dtype: str, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=_DTYPES[dtype][0], device="meta")


def _precision(dtype: str) -> str:
    return dtype if dtype in ("tf32", "tf32x3") else "ieee"


def _forward(tile, dtype, channels, filters, window, activation, saves) -> Callable[[], object]:
    def launch() -> None:
        x = _empty(dtype, _BATCH, _SIZE, _SIZE, channels)
        y = _empty(dtype, _BATCH, _SIZE, _SIZE, filters)
        kernel = _empty(dtype, window, window, channels, filters)
        z = torch.empty_like(y) if saves else None
        bias = _empty(dtype, filters)
        correlate(y, z, x, kernel, bias, (1, 1), _PADDING, (1, 1), 1, activation, _precision(dtype), tile)

    return launch


def _input_gradient(tile, dtype, channels, filters, stride) -> Callable[[], object]:
    def launch() -> None:
        dx = _empty(dtype, _BATCH, _SIZE, _SIZE, channels)
        g = _empty(dtype, _BATCH, _SIZE // stride, _SIZE // stride, filters)
        kernel = _empty(dtype, 3, 3, channels, filters)
        input_gradient(dx, g, kernel, (stride, stride), _PADDING, (1, 1), 1, _precision(dtype), tile)

    return launch


def _kernel_gradient(tile, dtype, filters) -> Callable[[], object]:
    def launch() -> None:
        x, g = _empty(dtype, _BATCH, _SIZE, _SIZE, 264), _empty(dtype, _BATCH, _SIZE, _SIZE, filters)
        kernel_gradient(x, g, (3, 3), (1, 1), _PADDING, (1, 1), 1, _precision(dtype), tile)

    return launch
