"""RMSprop by torch's multi-tensor ops; torch has no fused kernel with this equation."""

from __future__ import annotations

import torch
from torch import Tensor

from fastk.kernels.adam.aten import on_host
from fastk.kernels.step_options import StepOptions, apply, clipped, decay_


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
    options: StepOptions | None,
) -> None:
    """One step; see the contract in `kernels.rmsprop`."""
    arguments = (params, grads, velocities, momenta, average_grads, learning_rate, rho, momentum, epsilon, options)
    apply(_step, arguments, (params, velocities, momenta, average_grads))


def _step(params, grads, velocities, momenta, average_grads, learning_rate, rho, momentum, epsilon, options):
    if options is not None:
        grads = clipped(grads, options)
        decay_(params, learning_rate, options)
    torch._foreach_mul_(velocities, rho)
    torch._foreach_addcmul_(velocities, grads, grads, 1.0 - rho)
    denominators = torch._foreach_add(velocities, epsilon)
    if average_grads is not None:
        torch._foreach_lerp_(average_grads, grads, 1.0 - rho)
        torch._foreach_addcmul_(denominators, average_grads, average_grads, -1.0)
    torch._foreach_sqrt_(denominators)
    rate = 1.0
    if on_host(learning_rate):
        rate = float(learning_rate)
    else:
        grads = list(torch._foreach_mul(grads, learning_rate))
    if momenta is None:
        torch._foreach_addcdiv_(params, grads, denominators, -rate)
    else:
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_addcdiv_(momenta, grads, denominators, rate)
        torch._foreach_sub_(params, momenta)
