"""What of `rmsprop_` is compiled and checked: each configuration and dtype, plain and with all that may come before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fastk.kernels.adam.cases import DTYPES, everything, tensors, words
from fastk.kernels.rmsprop.configurations import SHIPPED, StepConfiguration
from fastk.kernels.rmsprop.triton_kernels import rmsprop_
from fastk.kernels.step_options import StepOptions
from fastk.kernels.verify.case import Case


def _launch(configuration: StepConfiguration, dtype: str, full: bool, options: StepOptions | None) -> None:
    params, grads, velocities, momenta, averages = (tensors(dtype) for _ in range(5))
    if full:
        rmsprop_(params, grads, velocities, momenta, averages, 1e-3, 0.9, 0.9, 1e-7, options, configuration)
    else:
        rmsprop_(params, grads, velocities, None, None, 1e-3, 0.9, 0.0, 1e-7, options, configuration)


def cases() -> Iterator[Case]:
    """Every shipped configuration."""
    for configuration in SHIPPED:
        for dtype in DTYPES:
            launch = partial(_launch, configuration, dtype)
            yield Case("_rmsprop_kernel", words(configuration), dtype, partial(launch, False, None), quick=True)
            yield Case(
                "_rmsprop_kernel", words(configuration, "momentum", "centered"), dtype, partial(launch, True, None)
            )
            # Beside the vectors of the same code it reads partial sums and scalars.
            full = partial(launch, True, everything())
            flags = ("momentum", "centered", "everything")
            yield Case("_rmsprop_kernel", words(configuration, *flags), dtype, full)
