"""What a step of SGD moves: 12 bytes a float32 parameter, 20 with momenta."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.sgd.triton_kernels import sgd_
from fastk.kernels.step_options import StepOptions
from fastk.kernels.verify.traffic import Least, TrafficCase, moved

SIZES = (100_352, 128, 20_011)  # a large kernel, a bias, a prime


def least(name: str, arguments: tuple, results: None) -> Least:
    """All lists are read; all but the gradients are written. A norm of the gradients reads them once more."""
    params, grads, *states = arguments[:3]
    options = next((each for each in arguments if isinstance(each, StepOptions)), StepOptions())
    normed = bool(options.clipnorm or options.global_clipnorm)
    return Least(2 * moved(params, states) + moved(grads) * (1 + normed))


def traffic_cases() -> Iterator[TrafficCase]:
    """A step with each state that it can have, and one that is clipped."""
    clipping = StepOptions(global_clipnorm=1.0)
    for variant, momentum, options in (("", 0.0, None), ("momentum", 0.9, None), ("clipped", 0.9, clipping)):
        momenta = _tensors() if momentum else None
        arguments = (_tensors(), _tensors(), momenta, 0.1, momentum, False, options)
        yield TrafficCase(f"{sum(SIZES)} {variant}", sgd_, arguments)


def _tensors() -> list[torch.Tensor]:
    return [torch.ones(size) for size in SIZES]
