"""What a step of Adam moves: 28 bytes a float32 parameter, with AMSGrad 36."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastk.kernels.adam.triton_kernels import adam_
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
    for variant, amsgrad, options in (("", False, None), ("amsgrad", True, None), ("clipped", False, clipping)):
        lists = [_tensors() for _ in range(4)]
        vhat = _tensors() if amsgrad else None
        yield TrafficCase(f"{sum(SIZES)} {variant}", adam_, (*lists, vhat, 1, 0.1, 0.9, 0.999, 1e-7, options))


def _tensors() -> list[torch.Tensor]:
    return [torch.ones(size) for size in SIZES]
