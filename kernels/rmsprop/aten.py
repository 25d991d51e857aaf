"""RMSprop by torch's multi-tensor ops; torch has no fused kernel with this equation."""

from __future__ import annotations

import torch
from torch import Tensor


def rmsprop_(
    params: list[Tensor],
    grads: list[Tensor],
    velocities: list[Tensor],
    momenta: list[Tensor] | None,
    average_grads: list[Tensor] | None,
    learning_rate: Tensor | float,
    rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """One step; see the contract in `kernels.rmsprop`."""
    with torch.no_grad():
        torch._foreach_mul_(velocities, rho)
        torch._foreach_addcmul_(velocities, grads, grads, 1.0 - rho)
        denominators = torch._foreach_add(velocities, epsilon)
        if average_grads is not None:
            torch._foreach_lerp_(average_grads, grads, 1.0 - rho)
            torch._foreach_addcmul_(denominators, average_grads, average_grads, -1.0)
        torch._foreach_sqrt_(denominators)
        if isinstance(learning_rate, Tensor) and not learning_rate.is_cpu:
            grads, rate = list(torch._foreach_mul(grads, learning_rate)), 1.0
        else:
            rate = float(learning_rate)
        if momenta is None:
            torch._foreach_addcdiv_(params, grads, denominators, -rate)
        else:
            torch._foreach_mul_(momenta, momentum)
            torch._foreach_addcdiv_(momenta, grads, denominators, rate)
            torch._foreach_sub_(params, momenta)
