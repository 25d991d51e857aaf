"""Gradients on their way to the update: brought into shape, then clipped. Lists in, new lists out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastk.distribution.gradients import averaged
from fastk.distribution.ranks import Group
from fastk.distribution.sharding import ShardedVariable
from fastk.kernels.step_options import clip_by_global_norm, clip_by_norm, clip_by_value
from fastk.optimizers.plan import laid_out, tensor_of
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

__all__ = ["as_gradient", "averaged_over", "clip_by_global_norm", "clip_by_norm", "clip_by_value"]


def as_gradient(gradient: Any, variable: Variable) -> torch.Tensor:
    """`gradient` as a plain tensor of the dtype, the layout and the device of `variable`.

    Raises:
        ValueError: its shape is another than the variable's.
    """
    parameter = tensor_of(variable)
    if isinstance(variable, ShardedVariable):
        gradient = getattr(gradient, "_local_tensor", gradient)  # torch's FSDP gives parts, as DTensors
    if not isinstance(gradient, torch.Tensor):
        gradient = convert_to_tensor(gradient)
    if gradient.shape != parameter.shape:
        raise ValueError(
            f"The gradient of variable '{variable.path}' has shape {tuple(gradient.shape)}, but the variable has shape "
            f"{variable.shape}. Pass gradients in the order of the variables, each of its variable's shape."
        )
    gradient = gradient.as_subclass(torch.Tensor).to(device=parameter.device, dtype=parameter.dtype)
    return laid_out(gradient, parameter.stride())


def averaged_over(group: Group, gradients: Sequence[Any], variables: Sequence[Variable]) -> list[Any]:
    """The gradients of the whole batch, of which each process has computed its part; None stays None."""
    if len(gradients) != len(variables):
        raise ValueError(
            f"Received {len(gradients)} gradients for {len(variables)} variables: they must match one to one."
        )
    given = [None if g is None else as_gradient(g, v) for g, v in zip(gradients, variables, strict=True)]
    whole = [i for i, v in enumerate(variables) if not isinstance(v, ShardedVariable)]
    found = averaged([given[i] for i in whole], [tensor_of(variables[i]) for i in whole], group)
    for i, gradient in zip(whole, found, strict=True):
        given[i] = gradient  # those of parts have been added up already, in the backward pass
    return given
