"""What of dropout is compiled and checked: each configuration and dtype, and the noise of a noise shape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.dropout.configurations import SHIPPED, DropoutConfiguration
from fastk.kernels.dropout.triton_kernels import dropout_forward
from fastk.kernels.verify.case import Case

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def _launch(dtype: str, size: int, noise_shape: tuple[int, ...] | None, configuration: DropoutConfiguration) -> None:
    x = torch.empty(8, size, dtype=_DTYPES[dtype], device="meta")
    dropout_forward(x, 0.3, torch.empty(2, dtype=torch.int64, device="meta"), noise_shape, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration."""
    for configuration in SHIPPED:
        words = f"{configuration.BLOCK} w{configuration.num_warps}"
        for dtype in _DTYPES:
            launch = partial(_launch, dtype, 125_001, None, configuration)
            yield Case("dropout_kernel", words, dtype, launch, quick=configuration is SHIPPED[0])
            noise = partial(_launch, dtype, 125_001, (1, 125_001), configuration)  # a size with a rest of 1
            yield Case("dropout_kernel", f"{words} noise", dtype, noise, wide=False)
