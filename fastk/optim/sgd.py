"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fastk.autograd import sgd_
from fastk.optim.base import Batch, MultiTensorStep, apart, check_arguments, clip_now, options_of, scalar, zeros


class SGD(MultiTensorStep, torch.optim.SGD):
    """`torch.optim.SGD`, a step over all tensors at once.

    Without momentum the step is fastk's. With it, it is torch's fused one: in fastk's, as in Keras's, the momentum has
    the learning rate in it, and a schedule would give other numbers.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: the learning rate, a number or a tensor of one element.
        momentum: the weight of the steps before.
        dampening: what is taken off the weight of the gradient beside them.
        weight_decay: times the parameter, added to its gradient.
        nesterov: look ahead by one more momentum.
        maximize: go uphill.
        foreach, fused: None or True; the step is both.
        differentiable: False.
        max_norm: the largest L2 norm of all gradients together, by which they are scaled down within the step.

    Raises:
        ValueError: a number out of its range, or an implementation that there is not.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> SGD([weight], lr=0.5, max_norm=1.0).step()
    >>> weight.data
    tensor([0.7000, 0.6000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        max_norm: float | None = None,
    ):
        check_arguments("SGD", foreach=foreach, fused=fused, differentiable=differentiable, max_norm=max_norm)
        torch.optim.SGD.__init__(self, params, lr, momentum, dampening, weight_decay, nesterov, maximize=maximize)
        self.max_norm = max_norm

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _update(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any]) -> None:
        if not group["momentum"]:
            grads, limit = apart(group, batch, limit, group["weight_decay"])
            sgd_(batch.params, grads, None, scalar(group["lr"]), options=options_of(limit, batch))
            return
        has_begun = ["momentum_buffer" in state and state["momentum_buffer"] is not None for state in batch.states]
        for begun in set(has_begun):
            own = [i for i, each in enumerate(has_begun) if each is begun]
            if not begun:
                for i in own:
                    batch.states[i]["momentum_buffer"] = zeros(batch.owners[i])
            self._with_momentum(group, batch.part(own), limit, not begun)

    def _with_momentum(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any], is_first: bool) -> None:
        """torch's step; the first one begins with the gradient, which is not dampened."""
        params = [param.contiguous() for param in batch.params]  # torch's kernel takes memory as it lies
        torch._fused_sgd_(
            params,
            [grad.contiguous() for grad in clip_now(batch.grads, limit)],
            batch.slot("momentum_buffer"),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            is_first_step=is_first,
        )
        for param, moved in zip(batch.params, params, strict=True):
            if moved is not param:
                param.copy_(moved)
