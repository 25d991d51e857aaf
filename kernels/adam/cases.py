"""What of `adam_` is compiled and checked: each configuration and dtype, plain and with all that may come before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from fastk.kernels.adam.configurations import SHIPPED, StepConfiguration
from fastk.kernels.adam.triton_kernels import adam_
from fastk.kernels.step_options import StepOptions
from fastk.kernels.verify.case import Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def tensors(dtype: str, sizes: tuple[int, ...] = (4_000_003, 10)) -> list[Tensor]:
    """Params of no size that a vector divides."""
    return [torch.empty(size, dtype=DTYPES[dtype], device="meta") for size in sizes]


def scalar(dtype: torch.dtype = torch.float32) -> Tensor:
    """A scalar on the device."""
    return torch.empty((), dtype=dtype, device="meta")


def words(configuration: StepConfiguration, *flags: str) -> str:
    """The variant of a case."""
    return " ".join((str(configuration.BLOCK), f"w{configuration.num_warps}", *flags))


def everything() -> StepOptions:
    """All options at once, read from the device."""
    return StepOptions(0.1, global_clipnorm=1.0, gradient_scale=scalar(), found_inf=scalar(torch.bool))


def _launch(configuration: StepConfiguration, dtype: str, amsgrad: bool, options: StepOptions | None) -> None:
    params, grads, m, v, vhat = (tensors(dtype) for _ in range(5))
    step = scalar(torch.int32)
    adam_(params, grads, m, v, vhat if amsgrad else None, step, 1e-3, 0.9, 0.999, 1e-7, options, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration."""
    for configuration in SHIPPED:
        for dtype in DTYPES:
            launch = partial(_launch, configuration, dtype)
            yield Case("_adam_kernel", words(configuration), dtype, partial(launch, False, None), quick=True)
            yield Case("_adam_kernel", words(configuration, "amsgrad"), dtype, partial(launch, True, None))
            # Beside the vectors of the same code it reads partial sums and scalars.
            full = partial(launch, True, everything())
            yield Case("_adam_kernel", words(configuration, "amsgrad", "everything"), dtype, full)
            if configuration is SHIPPED[0]:  # it stores one number, and depends on no configuration
                yield Case("_squares_kernel", "8192 w16", dtype, full, quick=True)
