"""What of `sgd_` is compiled and checked: each configuration and dtype, plain and with all that may come before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fastk.kernels.adam.cases import DTYPES, everything, tensors, words
from fastk.kernels.sgd.configurations import SHIPPED, StepConfiguration
from fastk.kernels.sgd.triton_kernels import sgd_
from fastk.kernels.step_options import StepOptions
from fastk.kernels.verify.case import Case


def _launch(configuration: StepConfiguration, dtype: str, nesterov: bool, options: StepOptions | None) -> None:
    params, grads, momenta = (tensors(dtype) for _ in range(3))
    if nesterov:
        sgd_(params, grads, momenta, 1e-3, 0.9, True, options, configuration)
    else:
        sgd_(params, grads, None, 1e-3, 0.0, False, options, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration."""
    for configuration in SHIPPED:
        for dtype in DTYPES:
            launch = partial(_launch, configuration, dtype)
            wide = dtype == "fp32" or configuration.BLOCK > 1024  # else two vectors are less than three addresses
            plain = partial(launch, False, None)
            yield Case("_sgd_kernel", words(configuration), dtype, plain, wide=wide, quick=True)
            yield Case("_sgd_kernel", words(configuration, "nesterov"), dtype, partial(launch, True, None))
            # Beside the vectors of the same code it reads partial sums and scalars.
            full = partial(launch, True, everything())
            yield Case("_sgd_kernel", words(configuration, "nesterov", "everything"), dtype, full)
