"""Gradients on their way to the update: brought into shape, then clipped. Lists in, new lists out."""

from __future__ import annotations

from typing import Any

import torch

from fastk.kernels.step_options import clip_by_global_norm, clip_by_norm, clip_by_value
from fastk.optimizers.plan import laid_out, tensor_of
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

__all__ = ["as_gradient", "clip_by_global_norm", "clip_by_norm", "clip_by_value"]


def as_gradient(gradient: Any, variable: Variable) -> torch.Tensor:
    """`gradient` as a plain tensor of the dtype, the layout and the device of `variable`.

    Raises:
        ValueError: its shape is another than the variable's.
    """
    parameter = tensor_of(variable)
    if not isinstance(gradient, torch.Tensor):
        gradient = convert_to_tensor(gradient)
    if gradient.shape != parameter.shape:
        raise ValueError(
            f"The gradient of variable '{variable.path}' has shape {tuple(gradient.shape)}, but the variable has shape "
            f"{variable.shape}. Pass gradients in the order of the variables, each of its variable's shape."
        )
    gradient = gradient.as_subclass(torch.Tensor).to(device=parameter.device, dtype=parameter.dtype)
    return laid_out(gradient, parameter.stride())
