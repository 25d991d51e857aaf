"""What of layer normalisation is compiled and checked: each shipped tile with each dtype, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.layer_norm.configurations import SHIPPED, RowConfiguration
from fastk.kernels.layer_norm.triton_kernels import layer_norm_backward, layer_norm_forward
from fastk.kernels.verify.case import Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUICK = (64, 1024)  # columns


def _launch(configuration: RowConfiguration, dtype: str, backward: bool) -> None:
    N = configuration.BLOCK_N - 8  # divisible by 8 and by no higher power of two
    x = torch.empty(100_000, N, dtype=DTYPES[dtype], device="meta")
    gamma, beta = (torch.empty(N, device="meta") for _ in range(2))
    mean, r = (torch.empty(len(x), device="meta") for _ in range(2))
    if backward:
        layer_norm_backward(x, x, gamma, mean, r, (1,), (True, True), configuration)
    else:
        layer_norm_forward(x, gamma, beta, (1,), 1e-3, configuration)


def cases() -> Iterator[Case]:
    """Every shipped tile."""
    for tile in SHIPPED:
        for dtype in DTYPES:
            variant = f"{tile.BLOCK_M}x{tile.BLOCK_N} w{tile.num_warps}"
            quick = tile.BLOCK_N in QUICK and tile.BLOCK_M * tile.BLOCK_N == 4096
            if dtype == "fp16" and not quick:  # the same code as bf16 but for the conversions
                continue
            yield Case("layer_norm_forward_kernel", variant, dtype, partial(_launch, tile, dtype, False), quick=quick)
            # Of several rows a thread loads the statistics one by one: 8 bytes beside a row.
            wide = tile.BLOCK_M == 1 or (dtype != "fp32" and tile.BLOCK_M != 16)
            launch = partial(_launch, tile, dtype, True)
            yield Case("layer_norm_backward_kernel", variant, dtype, launch, wide=wide, quick=quick)
