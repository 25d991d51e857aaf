"""Gradients on their way to the update: brought into shape, then clipped. Lists in, new lists out."""

from __future__ import annotations

from typing import Any

import torch

from fastk.optimizers.plan import Tensors, laid_out, tensor_of
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable


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


def clip_by_norm(gradients: Tensors, limit: float) -> Tensors:
    """Each gradient scaled down to an L2 norm of at most `limit`.

    >>> clip_by_norm([torch.tensor([3.0, 4.0])], 1.0)
    [tensor([0.6000, 0.8000])]
    """
    norms = torch._foreach_norm(gradients)
    torch._foreach_clamp_min_(norms, limit)
    scaled = torch._foreach_mul(gradients, limit)
    torch._foreach_div_(scaled, norms)
    return list(scaled)


def clip_by_global_norm(gradients: Tensors, limit: float) -> Tensors:
    """All gradients scaled by one factor, to a norm of at most `limit` taken together; all NaN where it is infinite.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.

    >>> clip_by_global_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    [tensor([0.6000]), tensor([0.8000])]
    """
    norms = torch._foreach_norm(gradients)
    norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]))
    # `norm - norm` is 0, or NaN: a gradient that overflowed must not pass for a large finite one.
    factor = limit / norm.clamp(min=limit) + (norm - norm)
    return list(torch._foreach_mul(gradients, factor))


def clip_by_value(gradients: Tensors, limit: float) -> Tensors:
    """Each element moved into [-limit, limit].

    >>> clip_by_value([torch.tensor([-3.0, 0.5])], 1.0)
    [tensor([-1.0000,  0.5000])]
    """
    clipped = torch._foreach_clamp_max(gradients, limit)
    torch._foreach_clamp_min_(clipped, -limit)
    return list(clipped)
