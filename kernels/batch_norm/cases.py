"""What of batch normalisation is compiled and checked: each shipped tile with each dtype, with and without a mask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.batch_norm.configurations import SHIPPED, STREAMED, WHOLE, TileConfiguration
from fastk.kernels.batch_norm.triton_kernels import batch_norm_backward, batch_norm_forward
from fastk.kernels.verify.case import Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUICK = (WHOLE[3], STREAMED[2])  # 128 rows at once; 64 channels


def _launch(tile: TileConfiguration, dtype: str, activation: str | None, masked: bool, backward: bool) -> None:
    R = tile.BLOCK_R - 3 if tile in WHOLE else 1_000_003
    C = tile.BLOCK_C * 2 + 8 if tile.BLOCK_C > 16 else 24  # divisible by 8 and by no higher power of two
    x = torch.empty(R, C, dtype=DTYPES[dtype], device="meta")
    gamma, beta, mean, variance = (torch.empty(C, device="meta") for _ in range(4))
    count = torch.empty(1, device="meta")
    mask = torch.empty(R, dtype=torch.bool, device="meta") if masked else None
    if backward:
        known = (mean, variance, count)
        batch_norm_backward(x, x, gamma, beta, *known, 1e-3, True, mask, activation, (True, True), tile)
    else:
        batch_norm_forward(x, gamma, beta, None, None, 1, 1e-3, True, mask, activation, tile)


def cases() -> Iterator[Case]:
    """Every shipped tile: with ReLU, and with GELU and a mask, which take the most registers."""
    for tile in SHIPPED:
        for dtype in DTYPES:
            if dtype == "fp16" and tile not in QUICK:  # the same code as bf16 but for the conversions
                continue
            for activation, masked in (("relu", False), ("gelu", True)):
                words = f"{tile.BLOCK_R}x{tile.BLOCK_C} w{tile.num_warps} {activation}{' masked' if masked else ''}"
                launches = [partial(_launch, tile, dtype, activation, masked, backward) for backward in (False, True)]
                quick = tile in QUICK and not masked
                if tile in WHOLE:
                    yield Case("whole_forward_kernel", words, dtype, launches[0], quick=quick)
                    yield Case("whole_backward_kernel", words, dtype, launches[1], quick=quick)
                    continue
                yield Case("normalise_kernel", words, dtype, launches[0], quick=quick)
                yield Case("input_gradient_kernel", words, dtype, launches[1], quick=quick)
                # What these two store is a row of sums for each program, beside megabytes that they read.
                yield Case("moments_kernel", words, dtype, launches[0], wide=False, quick=quick)
                yield Case("gradient_sums_kernel", words, dtype, launches[1], wide=False, quick=quick)
                if tile is STREAMED[0] and dtype == "fp32":  # it sees sums alone, in float32
                    yield Case("combine_moments_kernel", words, dtype, launches[0], wide=False, quick=quick)
