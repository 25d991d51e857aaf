"""The share of a batch that a process computes, and the sums over the whole batch that a step needs.

What a process's step computes counts in the sum over all processes by its share: its samples divided by those of the
whole batch. So a loss that is a mean over samples needs nothing more. Where a loss divides by something else (the
number of entries that a mask keeps, the sum of weights) or by nothing, it asks here what to divide by, so that the sum
of the losses, each times its share, is the loss of the whole batch. Weights are then those of one process with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from fastk.capture import host_call
from fastk.distribution.ranks import Group


class _Step:
    group: Group | None = None  # while a step over a part of a batch runs
    share: float | None = None
    is_in_loss = False


_step = _Step()


@contextlib.contextmanager
def of_batch(group: Group, share: float, is_in_loss: bool = False) -> Iterator[None]:
    """Inside, a step computes this share of a batch; each process has its own, and they add up to 1.

    Args:
        group: the processes.
        share: that of this one.
        is_in_loss: whether the loss is multiplied by it before it is differentiated, so that gradients count alike.
    """
    before = _step.group, _step.share, _step.is_in_loss
    _step.group, _step.share, _step.is_in_loss = group, share, is_in_loss
    try:
        yield
    finally:
        _step.group, _step.share, _step.is_in_loss = before


def own(group: Group) -> float:
    """The share of this process; outside of the steps of `fit`, all have equal ones."""
    return 1 / group.size if _step.share is None else _step.share


def of_gradients(group: Group) -> float:
    """How much this process's gradients count in the sum over all."""
    return 1 / group.size if _step.is_in_loss else own(group)


def is_part() -> bool:
    """Whether a step over a part of a batch runs: all processes then do the same, and can add up."""
    return _step.group is not None


def divisor(mine: torch.Tensor) -> torch.Tensor:
    """What a loss divides by in the place of `mine`, so that the whole batch's divisor is divided by.

    Args:
        mine: what this process would divide by: a count or a sum of weights, without dimensions and without gradient.
    """
    return mine if _step.group is None else _summed(mine.detach(), _scaled_sum)


def undivided(loss: torch.Tensor) -> torch.Tensor:
    """A loss that is a sum over samples, made one that counts by the share."""
    return loss if _step.group is None else loss / _summed(loss.detach().new_ones(()), _own_share)


def _summed(x: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    # On the host a step is replayed without its Python, but for such a call.
    return host_call(function, x) if x.is_cpu else function(x)


def _scaled_sum(mine: torch.Tensor) -> torch.Tensor:
    assert _step.group is not None
    return _step.group.sum_(mine.clone(), "the divisor of a loss").mul_(own(_step.group))


def _own_share(one: torch.Tensor) -> torch.Tensor:
    assert _step.group is not None
    return one * own(_step.group)


class _SumOverRanks(torch.autograd.Function):
    """The sum over all processes; each one's gradient counts by its share, as all gradients do in the end."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _summed(x, _sum)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[override]
        """Nothing is needed in the backward pass."""

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _summed(gradient.contiguous(), _sum_by_shares)


def sum_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """The sum of `x` over all processes, differentiable; `x` itself outside of the step over a part of a batch."""
    return x if _step.group is None else _SumOverRanks.apply(x.contiguous())  # type: ignore[return-value]


def _sum(x: torch.Tensor) -> torch.Tensor:
    assert _step.group is not None
    return _step.group.sum_(x.clone(), "statistics of a batch")


def _sum_by_shares(gradient: torch.Tensor) -> torch.Tensor:
    assert _step.group is not None
    share = of_gradients(_step.group)
    return _step.group.sum_(gradient * share, "gradients of a batch's statistics").div_(share)
