"""Steps over lists of tensors, with a learning rate that is a float or a tensor on the device."""

from __future__ import annotations

import torch

Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


def subtract_(parameters: Tensors, updates: Tensors, rate: float | torch.Tensor) -> None:
    """`parameters -= rate * updates`."""
    if isinstance(rate, torch.Tensor):
        torch._foreach_sub_(parameters, torch._foreach_mul(updates, rate))
    else:
        torch._foreach_add_(parameters, updates, alpha=-rate)


def subtract_ratio_(
    parameters: Tensors, numerators: Tensors, denominators: Tensors, rate: float | torch.Tensor
) -> None:
    """`parameters -= rate * numerators / denominators`."""
    if isinstance(rate, torch.Tensor):
        subtract_(parameters, torch._foreach_div(numerators, denominators), rate)
    else:
        torch._foreach_addcdiv_(parameters, numerators, denominators, -rate)


def update_moments_(first: Tensors, second: Tensors, gradients: Tensors, beta_1: float, beta_2: float) -> None:
    """`first += (1 - beta_1) * (g - first)` and `second += (1 - beta_2) * (g^2 - second)`: Adam's running means."""
    torch._foreach_lerp_(first, gradients, 1.0 - beta_1)
    torch._foreach_mul_(second, beta_2)
    torch._foreach_addcmul_(second, gradients, gradients, 1.0 - beta_2)
