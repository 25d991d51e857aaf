"""The matrix products of dense to be compiled: every shipped tile with each dtype, and what the epilogue can hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk import config
from fastk.kernels.dense.configurations import DESCRIPTORS, POINTERS, GemmConfiguration
from fastk.kernels.dense.triton_gemm import gemm
from fastk.kernels.verify.case import Case

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32}
DTYPES["tf32x3"] = torch.float32
FORWARD = {"activation": "relu"}
EPILOGUES = {
    "linear": {"bias": False},
    "gelu": {"activation": "gelu"},
    "relu dropout": {"activation": "relu", "rate": 0.1},
    "gelu dropout": {"activation": "gelu", "rate": 0.1},
}
# The three products of a step: y = x W, dx = g W^T, dW = x^T g.
PRODUCTS = {"": {}, "dx": {"trans_b": True, "bias": False}, "dW": {"trans_a": True, "bias": False}}
SIZE = 1000  # divisible by 8 and not by 16


def launch(
    dtype: str,
    tile: GemmConfiguration,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: bool = True,
    activation: str | None = None,
    rate: float = 0.0,
) -> None:
    """Launches one product of SIZE x SIZE matrices without data."""

    def meta(*shape: int, of: torch.dtype = DTYPES[dtype]) -> torch.Tensor:
        return torch.empty(shape, dtype=of, device="meta")

    before = config.float32_precision()
    config.set_float32_precision(dtype if dtype in config.FLOAT32_PRECISIONS else "ieee")
    try:
        gemm(
            meta(SIZE, SIZE),
            meta(SIZE, SIZE),
            trans_a,
            trans_b,
            meta(SIZE) if bias else None,
            activation,
            meta(2, of=torch.int64) if rate else None,
            rate,
            tile,
        )
    finally:
        config.set_float32_precision(before)


def cases() -> Iterator[Case]:
    """Every shipped tile with each dtype and product; the epilogues at the largest tiles."""
    for dtype in DTYPES:
        kind = "half" if dtype in ("bf16", "fp16") else "ieee" if dtype == "fp32" else dtype
        for tile in POINTERS[kind] + (DESCRIPTORS if kind == "half" else ()):
            largest = tile in (POINTERS[kind][0], DESCRIPTORS[0])
            for product, options in PRODUCTS.items():
                variants = {"relu": FORWARD} | (EPILOGUES if largest else {}) if product == "" else {product: options}
                for name, flags in variants.items():
                    yield Case(
                        "gemm_descriptor_kernel" if tile.descriptors else "gemm_kernel",
                        f"{tile} {name}",
                        dtype,
                        partial(launch, dtype, tile, **flags),
                        tensor_cores=kind != "ieee",
                        waits=3 if kind == "tf32x3" else 1,
                        # Both operands of dW have K outermost, which 32-bit tensor cores do not take: they are turned
                        # on the way to shared memory, an element at a time.
                        wide=not (product == "dW" and kind in ("tf32", "tf32x3")),
                        architectures=(90, 100) if tile.descriptors else (80, 90, 100),
                        quick=name == "relu" and largest,
                    )
