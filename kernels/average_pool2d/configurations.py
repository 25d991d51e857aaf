"""How the kernels of average pooling are cut into programs: as those of `max_pool2d` are."""

from __future__ import annotations

from fastk.autotune import example_tensor
from fastk.kernels.max_pool2d.configurations import Pixels, PoolConfiguration, image_of, tunable_of

__all__ = ["BACKWARD", "FORWARD", "Pixels", "PoolConfiguration"]


def _forward_example(problem: Pixels, device: str) -> tuple:
    image, _ = image_of(problem, False)
    return example_tensor(image, problem.dtype, device), problem.window, problem.strides, (0, 0, 0, 0)


def _backward_example(problem: Pixels, device: str) -> tuple:
    image, result = image_of(problem, True)
    return example_tensor(result, problem.dtype, device), image, problem.window, problem.strides, (0, 0, 0, 0)


FORWARD = tunable_of("average_pool2d", "forward", _forward_example)
BACKWARD = tunable_of("average_pool2d", "backward", _backward_example)
