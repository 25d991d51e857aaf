"""What a step of RMSprop moves: 20 bytes a float32 parameter, 8 more for each further state."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.rmsprop.triton_kernels import rmsprop_
from fastk.kernels.step_options import StepOptions
from fastk.kernels.verify.traffic import Least, TrafficCase, moved

SIZES = (100_352, 128, 20_011)  # a large kernel, a bias, a prime


def least(name: str, arguments: tuple, results: None) -> Least:
    """All lists are read; all but the gradients are written. A norm of the gradients reads them once more."""
    params, grads, *states = arguments[:5]
    options = next((each for each in arguments if isinstance(each, StepOptions)), StepOptions())
    normed = bool(options.clipnorm or options.global_clipnorm)
    return Least(2 * moved(params, states) + moved(grads) * (1 + normed))


def traffic_cases() -> Iterator[TrafficCase]:
    """A step with each state that it can have, and one that is clipped."""
    clipping = StepOptions(global_clipnorm=1.0)
    for variant, centered, options in (
        ("", False, None),
        ("centered momentum", True, None),
        ("clipped", False, clipping),
    ):
        states = [_tensors() if centered else None for _ in range(2)]
        arguments = (_tensors(), _tensors(), _tensors(), *states, 0.1, 0.9, 0.9 if centered else 0.0, 1e-7, options)
        yield TrafficCase(f"{sum(SIZES)} {variant}", rmsprop_, arguments)


def _tensors() -> list[torch.Tensor]:
    return [torch.ones(size) for size in SIZES]
