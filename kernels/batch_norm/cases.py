"""What of batch normalisation is compiled and checked: each shipped tile with each dtype, with and without a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from fastk.kernels.batch_norm.configurations import STREAMED, WHOLE, TileConfiguration
from fastk.kernels.batch_norm.triton_kernels import batch_norm_backward, batch_norm_forward
from fastk.kernels.verify.case import Case

Launch = Callable[..., None]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUICK = (WHOLE[3], STREAMED[2])  # 128 rows at once; 64 channels


def _launch(
    tile: TileConfiguration, R: int, dtype: str, activation: str, masked: bool, backward: bool, training: bool = True
) -> None:
    C = tile.BLOCK_C * 2 + 8 if tile.BLOCK_C > 16 else 24  # divisible by 8 and by no higher power of two
    x = torch.empty(R, C, dtype=DTYPES[dtype], device="meta")
    gamma, beta, mean, variance = (torch.empty(C, device="meta") for _ in range(4))
    count = torch.empty(1, device="meta")
    mask = torch.empty(R, dtype=torch.bool, device="meta") if masked else None
    if backward:
        known = (mean, variance, count)
        batch_norm_backward(x, x, gamma, beta, *known, 1e-3, training, mask, activation, (True, True), tile)
    else:
        batch_norm_forward(x, gamma, beta, None, None, 1, 1e-3, True, mask, activation, tile)


def _launches(tile: TileConfiguration, R: int) -> Iterator[tuple[str, str, bool, Launch, Launch]]:
    """(variant, dtype, whether quick, forward, backward): with ReLU, and with GELU and a mask, which take the most."""
    for dtype in DTYPES:
        if dtype == "fp16" and tile not in QUICK:  # the same code as bf16 but for the conversions
            continue
        for activation, masked in (("relu", False), ("gelu", True)):
            words = f"{tile.BLOCK_R}x{tile.BLOCK_C} w{tile.num_warps} {activation}{' masked' if masked else ''}"
            launch = partial(_launch, tile, R, dtype, activation, masked)
            yield words, dtype, tile in QUICK and not masked, partial(launch, False), partial(launch, True)


def cases() -> Iterator[Case]:
    """Every shipped tile."""
    for tile in WHOLE:
        for words, dtype, quick, forward, backward in _launches(tile, tile.BLOCK_R - 3):
            yield Case("whole_forward_kernel", words, dtype, forward, quick=quick)
            yield Case("whole_backward_kernel", words, dtype, backward, quick=quick)
    for tile in STREAMED:
        for words, dtype, quick, forward, backward in _launches(tile, 1_000_003):
            yield Case("normalise_kernel", words, dtype, forward, quick=quick)
            yield Case("input_gradient_kernel", words, dtype, backward, quick=quick)
            # What these two store is a row of sums for each program, beside the megabytes that they read.
            yield Case("moments_kernel", words, dtype, forward, quick=quick)
            yield Case("gradient_sums_kernel", words, dtype, backward, quick=quick)
            given = f"{words.removesuffix(' masked')} given"  # statistics, for which it computes dx too
            yield Case("gradient_sums_kernel", given, dtype, partial(backward, training=False))
            if tile is QUICK[1] and dtype == "fp32":  # it sees statistics alone, in float32
                yield Case("combine_moments_kernel", words, dtype, forward, quick=quick)
