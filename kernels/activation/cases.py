"""What of the elementwise activations is compiled and checked: each configuration, dtype and function."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.activation.aten import ACTIVATIONS
from fastk.kernels.activation.configurations import SHIPPED, ElementwiseConfiguration
from fastk.kernels.activation.triton_kernels import activation_backward, activation_forward
from fastk.kernels.verify.case import Case

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_SIZE = 125_000  # divisible by 8 and not by 16


def _forward(dtype: torch.dtype, name: str, configuration: ElementwiseConfiguration) -> None:
    activation_forward(torch.empty(_SIZE, dtype=dtype, device="meta"), name, configuration)


def _backward(dtype: torch.dtype, name: str, configuration: ElementwiseConfiguration) -> None:
    g, value = (torch.empty(_SIZE, dtype=dtype, device="meta") for _ in range(2))
    activation_backward(g, value, name, configuration)


def cases() -> Iterator[Case]:
    """gelu, which needs most, in every configuration; the other functions in the larger one and the first dtype."""
    for configuration in SHIPPED:
        words = f"{configuration.block} w{configuration.num_warps}"
        for kernel, launch in (("activation_forward_kernel", _forward), ("activation_backward_kernel", _backward)):
            for dtype in _DTYPES:
                for name in ACTIVATIONS:
                    if name == "gelu" or (dtype == "bf16" and configuration is SHIPPED[-1]):
                        run = partial(launch, _DTYPES[dtype], name, configuration)
                        quick = name == "gelu" and configuration is SHIPPED[-1]
                        yield Case(kernel, f"{words} {name}", dtype, run, quick=quick)
