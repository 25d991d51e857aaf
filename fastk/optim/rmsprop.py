"""RMSprop."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop

from fastk.autograd import adam_
from fastk.optim.base import (
    Batch,
    MultiTensorStep,
    apart,
    check_arguments,
    clip_now,
    new_count,
    scalar,
    zeros,
)


class RMSprop(MultiTensorStep, torch.optim.RMSprop):
    """`torch.optim.RMSprop`, a step over all tensors at once.

    torch adds `eps` to the root, fastk's own RMSprop, as Keras's, under it. So the plain step is that of Adam without a
    mean of gradients, which is the same function, in one launch; with momentum or centered it is torch's.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: the learning rate, a number or a tensor of one element.
        alpha: the weight of the old mean of squares.
        eps: added to its root.
        weight_decay: times the parameter, added to its gradient.
        momentum: the weight of the steps before.
        centered: divide by the estimated standard deviation.
        capturable, differentiable: False.
        foreach: None or True; the step is always over all tensors.
        maximize: go uphill.
        max_norm: the largest L2 norm of all gradients together, by which they are scaled down within the step.

    Raises:
        ValueError: a number out of its range, or an implementation that there is not.

    Source: Hinton, Neural Networks for Machine Learning, lecture 6e, 2012; Graves 2013 (`centered`).

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.tensor([4.0])
    >>> RMSprop([weight], lr=0.1, alpha=0.75).step()
    >>> weight.data
    tensor([0.8000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        max_norm: float | None = None,
    ):
        given = {"foreach": foreach, "capturable": capturable, "differentiable": differentiable}
        check_arguments("RMSprop", **given, max_norm=max_norm)
        torch.optim.RMSprop.__init__(self, params, lr, alpha, eps, weight_decay, momentum, centered, maximize=maximize)
        self.max_norm = max_norm

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": new_count(), "square_avg": zeros(param)}
        state |= {"momentum_buffer": zeros(param)} if group["momentum"] > 0 else {}
        return state | ({"grad_avg": zeros(param)} if group["centered"] else {})

    def _update(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any]) -> None:
        if group["momentum"] > 0 or group["centered"] or group["alpha"] >= 1.0:
            self._by_torch(group, batch, limit)
            return
        # Adam at step 1, with beta_1 = 0: param -= rate c g / (sqrt(v) + eps), c = sqrt(1 - beta_2). The mean of the
        # gradients is the gradient itself, which is written where it lies: so it is clipped before.
        grads, limit = apart(group, batch, limit, group["weight_decay"])
        grads = clip_now(grads, limit)
        rate = scalar(group["lr"]) / math.sqrt(1.0 - group["alpha"])
        squares = batch.slot("square_avg")
        adam_(batch.params, grads, grads, squares, None, 1, rate, 0.0, group["alpha"], group["eps"])

    def _by_torch(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any]) -> None:
        steps = batch.slot("step")
        torch._foreach_sub_(steps, 1.0)  # which it counts itself
        rmsprop(
            batch.params,
            clip_now(batch.grads, limit),
            batch.slot("square_avg"),
            batch.slot("grad_avg") if group["centered"] else [],
            batch.slot("momentum_buffer") if group["momentum"] > 0 else [],
            steps,
            foreach=True,
            maximize=group["maximize"],
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=group["centered"],
        )
