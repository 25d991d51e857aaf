"""The matrix products of dense to be compiled: every shipped tile with each dtype, and what the epilogue can hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import torch

from fastk import config
from fastk.kernels.dense.configurations import shipped
from fastk.kernels.dense.triton_gemm import gemm
from fastk.kernels.gemm_configurations import ARCHITECTURES, GemmConfiguration
from fastk.kernels.triton_reduction import bias_gradient
from fastk.kernels.verify.case import Case

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32}
DTYPES["tf32x3"] = torch.float32
FORWARD = {"relu": {"activation": "relu"}}
EPILOGUES = {
    "linear": {"bias": False},
    "gelu": {"activation": "gelu"},
    "relu dropout": {"activation": "relu", "rate": 0.1},
    "gelu dropout": {"activation": "gelu", "rate": 0.1},
}
GRADIENTS = {"dx": {"trans_b": True, "bias": False}, "dW": {"trans_a": True, "bias": False}}
BIAS_GRADIENTS = {"relu": ("relu", 0.0), "gelu dropout": ("gelu", 0.1)}
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


def launch_bias_gradient(dtype: str, rows: int, activation: str, rate: float) -> None:
    """Launches the derivative of an epilogue over rows x SIZE elements without data."""
    g = torch.empty(rows, SIZE, dtype=DTYPES[dtype], device="meta")
    seed = torch.empty(2, dtype=torch.int64, device="meta") if rate else None
    bias_gradient(g, torch.empty_like(g), activation, seed, rate)


def cases() -> Iterator[Case]:
    """Every shipped tile with each dtype and product; the epilogues at the largest tiles of their kernel."""
    for dtype in ("bf16", "fp16", "fp32"):
        for (name, flags), rows in itertools.product(BIAS_GRADIENTS.items(), (128, 4096)):
            yield Case(
                "bias_gradient_kernel",
                f"{rows} rows {name}",
                dtype,
                partial(launch_bias_gradient, dtype, rows, *flags),
                quick=name == "relu" and rows == 4096,
            )
    for dtype in DTYPES:
        kind = "half" if dtype in ("bf16", "fp16") else "ieee" if dtype == "fp32" else dtype
        tables = {architecture: shipped(kind, architecture) for architecture in ARCHITECTURES}
        first = [next(t for t in tables[90] if t.descriptors == how) for how in {t.descriptors for t in tables[90]}]
        for tile in dict.fromkeys(tile for table in tables.values() for tile in table):
            largest = tile in first or tile == tables[80][0]
            for name, flags in (FORWARD | EPILOGUES | GRADIENTS if largest else FORWARD | GRADIENTS).items():
                yield Case(
                    "gemm_descriptor_kernel" if tile.descriptors else "gemm_kernel",
                    f"{tile} {name}",
                    dtype,
                    partial(launch, dtype, tile, **flags),
                    tensor_cores=kind != "ieee",
                    # A of dW has K outermost, which tf32's tensor cores do not take: it is turned on the way to shared
                    # memory, an element at a time.
                    wide=not (name == "dW" and kind == "tf32"),
                    architectures=tuple(a for a in ARCHITECTURES if tile in tables[a]),
                    quick=name == "relu" and tile in first,
                )
