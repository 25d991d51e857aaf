"""What may come before an optimizer's step: the argument that `adam_`, `sgd_` and `rmsprop_` share.

In this order, with g a param's gradient and limits as in `StepOptions`:

    g      = g / gradient_scale
    g      = clip(g, -clipvalue, clipvalue)                       or
    g      = g clipnorm / max(norm(g), clipnorm)                  each gradient by its own L2 norm, or
    g      = g global_clipnorm / max(norm, global_clipnorm)       by that of all gradients of the call; NaN where it is
                                                                  infinite (Pascanu et al. 2013)
    param -= learning_rate weight_decay param                     decoupled (Loshchilov & Hutter 2019)

and then the step; or nothing of it all where `found_inf` is not 0. The gradients themselves are left as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class StepOptions(NamedTuple):
    """What comes before a step; each is left out by default.

    Attributes:
        weight_decay: the fraction of each param, times the learning rate, that is taken off.
        decayed: for each param whether `weight_decay` is for it; None: for all.
        clipvalue: the largest absolute value of a gradient's element. At most one of the three limits is given.
        clipnorm: the largest L2 norm of each gradient.
        global_clipnorm: the largest L2 norm of all gradients together.
        gradient_scale: what the gradients are divided by: a float, or a 0-d float tensor beside the params.
        found_inf: a 0-d tensor beside the params: where it is not 0, or True, nothing is changed.
    """

    weight_decay: float = 0.0
    decayed: Sequence[bool] | None = None
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    gradient_scale: Tensor | float | None = None
    found_inf: Tensor | None = None


def clipped(grads: list[Tensor], options: StepOptions) -> list[Tensor]:
    """The gradients that the step takes: unscaled, then clipped."""
    if options.gradient_scale is not None:
        grads = list(torch._foreach_div(grads, options.gradient_scale))
    if options.clipnorm:
        return clip_by_norm(grads, options.clipnorm)
    if options.global_clipnorm:
        return clip_by_global_norm(grads, options.global_clipnorm)
    if options.clipvalue:
        return clip_by_value(grads, options.clipvalue)
    return grads


def decay_(params: list[Tensor], learning_rate: Tensor | float, options: StepOptions) -> None:
    """Decoupled weight decay of the params that it is for."""
    if not options.weight_decay:
        return
    if options.decayed is not None:
        params = [param for param, chosen in zip(params, options.decayed, strict=True) if chosen]
    if params:
        torch._foreach_mul_(params, 1.0 - options.weight_decay * learning_rate)


def apply(step: Callable[..., None], arguments: tuple, changing: tuple[list[Tensor] | None, ...]) -> None:
    """Calls `step` without autograd; where `found_inf` says so it has had no effect.

    arguments: those of `step`, the options last.
    changing: the lists of tensors that it writes to.
    """
    options = arguments[-1]
    found_inf = None if options is None else options.found_inf
    with torch.no_grad():
        if found_inf is None:
            step(*arguments)
        elif found_inf.is_cpu:
            if not found_inf:
                step(*arguments)
        else:
            tensors = [tensor for each in changing if each is not None for tensor in each]
            before = [tensor.clone() for tensor in tensors]
            step(*arguments)
            for new, old in zip(tensors, before, strict=True):
                torch.where(found_inf != 0, old, new, out=new)


def clip_by_norm(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """Each gradient scaled down to an L2 norm of at most `limit`.

    >>> clip_by_norm([torch.tensor([3.0, 4.0])], 1.0)
    [tensor([0.6000, 0.8000])]
    """
    norms = torch._foreach_norm(gradients)
    torch._foreach_clamp_min_(norms, limit)
    scaled = torch._foreach_mul(gradients, limit)
    torch._foreach_div_(scaled, norms)
    return list(scaled)


def clip_by_global_norm(gradients: list[Tensor], limit: float) -> list[Tensor]:
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


def clip_by_value(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """Each element moved into [-limit, limit].

    >>> clip_by_value([torch.tensor([-3.0, 0.5])], 1.0)
    [tensor([-1.0000,  0.5000])]
    """
    clipped = torch._foreach_clamp_max(gradients, limit)
    torch._foreach_clamp_min_(clipped, -limit)
    return list(clipped)
