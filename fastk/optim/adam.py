"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fastk.autograd import adam_
from fastk.optim.base import (
    Batch,
    MultiTensorStep,
    apart,
    check_arguments,
    new_count,
    options_of,
    scalar,
    zeros,
)


class _AdamStep(MultiTensorStep):
    """The step of both; they differ in what `weight_decay` is added to."""

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": new_count(), "exp_avg": zeros(param), "exp_avg_sq": zeros(param)}
        return state | ({"max_exp_avg_sq": zeros(param)} if group["amsgrad"] else {})

    def _update(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any]) -> None:
        is_decoupled = group["decoupled_weight_decay"]
        grads, limit = apart(group, batch, limit, 0.0 if is_decoupled else group["weight_decay"])
        beta_1, beta_2 = group["betas"]
        adam_(
            batch.params,
            grads,
            batch.slot("exp_avg"),
            batch.slot("exp_avg_sq"),
            batch.slot("max_exp_avg_sq") if group["amsgrad"] else None,
            batch.count,
            scalar(group["lr"]),
            beta_1,
            beta_2,
            # torch adds it to sqrt(v / (1 - beta_2^t)), and fastk, as Keras and the paper's "epsilon hat", to sqrt(v)
            group["eps"] * math.sqrt(1.0 - beta_2**batch.count),
            options_of(limit, batch, group["weight_decay"] if is_decoupled else 0.0),
        )


class Adam(_AdamStep, torch.optim.Adam):
    """`torch.optim.Adam` by fastk's one-launch step.

    The numbers, the names of the states and the state dicts are torch's, so that one may go on where the other stopped.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: the learning rate, a number or a tensor of one element.
        betas: the weights of the old means.
        eps: added to the root of the mean of squares, corrected for its start at 0.
        weight_decay: times the parameter, added to its gradient.
        amsgrad: divide by the largest mean of squares so far.
        foreach, fused: None or True; the step is both.
        maximize: go uphill.
        capturable, differentiable: False.
        decoupled_weight_decay: as `AdamW` has it.
        max_norm: the largest L2 norm of all gradients together, by which they are scaled down within the step.

    Raises:
        ValueError: a number out of its range, or an implementation that there is not.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad = torch.tensor([3.0, -0.01])
    >>> optimizer.step()
    >>> weight.data
    tensor([0.9000, 1.1000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        max_norm: float | None = None,
    ):
        given = {"foreach": foreach, "fused": fused, "capturable": capturable, "differentiable": differentiable}
        check_arguments("Adam", **given, max_norm=max_norm)
        options = {"maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay}
        torch.optim.Adam.__init__(self, params, lr, betas, eps, weight_decay, amsgrad, **options)
        self.max_norm = max_norm


class AdamW(_AdamStep, torch.optim.AdamW):
    """`torch.optim.AdamW` by fastk's one-launch step: as `Adam`, but `weight_decay` shrinks the parameters themselves.

    Args:
        params, lr, betas, eps, amsgrad, maximize, foreach, capturable, differentiable, fused, max_norm: as of `Adam`.
        weight_decay: the share of each parameter, times the learning rate, that a step takes off.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.zeros(1)
    >>> AdamW([weight], lr=0.1, weight_decay=0.5).step()
    >>> weight.data
    tensor([0.9500])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        max_norm: float | None = None,
    ):
        given = {"foreach": foreach, "fused": fused, "capturable": capturable, "differentiable": differentiable}
        check_arguments("AdamW", **given, max_norm=max_norm)
        torch.optim.AdamW.__init__(self, params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
        self.max_norm = max_norm
