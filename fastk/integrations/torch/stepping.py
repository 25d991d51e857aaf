"""A training step of torch, recorded and replayed without its Python (`fastk.training.step`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastk.capture import host_call
from fastk.integrations.torch.tracing import GLOBAL_HOOKS, Guards
from fastk.training.step import CapturedStep


class TrainStep:
    """Forward, loss, backward and the optimizer's step, as one call.

    The first batch of a shape runs as it is. Two more are recorded; where they did the same, the following ones replay
    forward, loss and backward: on the CPU as a flat list of ATen calls, on a GPU as a CUDA graph (not run on one yet).
    The optimizer's step runs as it is, so that learning rates may change, and any optimizer of torch's interface will
    do. What cannot be replayed runs as it is, and `reasons` says why. The numbers are those of the loop that it
    replaces.

    Gradients are not kept: `zero_grad` is not needed, and after a call `grad` of every parameter is None. Autocast may
    be on around a call; the loss is not scaled.

    Args:
        module: any module; an accelerated one gains twice.
        loss: called with the module's outputs and y; returns a tensor of one element.
        optimizer: that of the module's parameters.
        returns_outputs: whether calls also return the module's outputs.

    Attributes:
        reasons: why steps are not replayed, a sentence each.
        replayed: how many programs there are, one a shape of batches.

    Raises:
        TypeError: the module is wrapped in `DistributedDataParallel`, whose gradients are exchanged in `backward()`.

    >>> torch.manual_seed(0) and None
    >>> model = nn.Linear(4, 1)
    >>> step = TrainStep(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    >>> x, y = torch.ones(8, 4), torch.zeros(8, 1)
    >>> losses = [step(x, y).item() for _ in range(6)]
    >>> losses[5] < losses[0], step.replayed
    (True, 1)
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        returns_outputs: bool = False,
    ):
        if isinstance(module, nn.parallel.DistributedDataParallel):
            raise TypeError(
                "`TrainStep` takes the gradients without `backward()`, where DistributedDataParallel would exchange "
                "them. Pass the module that it wraps for one process, or write the loop out for several."
            )
        self.module, self.loss, self.optimizer = module, loss, optimizer
        self.returns_outputs = returns_outputs
        self._modules = list(module.modules())
        if isinstance(loss, nn.Module):
            self._modules += loss.modules()
        self._captured = CapturedStep(self._step, self._modules)
        self._state: list[Any] = []
        self._guards = Guards([], [])
        self._buffers: dict[int, Tensor] = {}  # of gradients on a GPU, where its graph leaves them

    def __call__(self, x: Any, y: Any) -> Any:
        """Takes a step.

        Args:
            x: a tensor, or a tuple of them: the module's arguments.
            y: what the loss is called with beside the outputs.

        Returns:
            The loss, without gradient; with `returns_outputs` (loss, outputs).
        """
        known = all(p.is_cpu or p.is_cuda for p in self._params)
        plain = not known or any(GLOBAL_HOOKS) or bool(self._captured.hooked)
        if not plain and not self._is_current():
            self._captured.check_again()
        modes = (
            torch.is_autocast_enabled("cpu") and str(torch.get_autocast_dtype("cpu")),
            torch.is_autocast_enabled("cuda") and str(torch.get_autocast_dtype("cuda")),
        )
        result = (self._step if plain else self._captured)(x, y, modes)
        if self._buffers:
            self._apply(list(self._buffers), list(self._buffers.values()))
        return result

    @property
    def reasons(self) -> list[str]:
        """Why steps are not replayed, a sentence each."""
        return self._captured.reasons

    @property
    def replayed(self) -> int:
        """How many programs there are, one a shape of batches."""
        return len(self._captured.programs)

    def _is_current(self) -> bool:
        """Whether modules and tensors are as they were at the last check; notes how they are."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        state = [(t.data_ptr(), t.requires_grad) for t in tensors] + list(map(id, self._params))
        holds = state == self._state and self._guards.hold()
        if not holds:
            self._state, self._guards = state, Guards(self._modules, self._modules)
        return holds

    def _step(self, x: Any, y: Any, modes: Any) -> Any:
        params = self._params
        if any(getattr(p, "_post_accumulate_grad_hooks", None) for p in params):
            raise ValueError("A parameter has a hook that runs after `backward()`, which `TrainStep` does not call.")
        with torch.enable_grad():
            outputs = self.module(*x) if isinstance(x, tuple) else self.module(x)
            loss = self.loss(outputs, y)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise ValueError(f"`loss` must return a tensor of one element. Received: {loss!r}.")
            found = torch.autograd.grad(loss, params, allow_unused=True)
        used = [i for i, gradient in enumerate(found) if gradient is not None]
        gradients = [gradient for gradient in found if gradient is not None]
        if self._is_apart(loss):
            self._keep(used, gradients)
        else:
            host_call(self._apply, used, gradients)
        loss = loss.detach()
        return (loss, _detached(outputs)) if self.returns_outputs else loss

    def _is_apart(self, loss: Tensor) -> bool:
        """Whether the optimizer's step is no call in what is recorded: a CUDA graph has none of the host's."""
        return loss.is_cuda

    @property
    def _params(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def _apply(self, used: list[int], gradients: list[Tensor]) -> None:
        """The optimizer's step; a replay hands over gradients, and numbers in the place of parameters."""
        params = self._params
        for i, gradient in zip(used, gradients, strict=True):
            params[i].grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _keep(self, used: list[int], gradients: list[Tensor]) -> None:
        """Writes the gradients where the optimizer's step, which is no part of the graph, will find them."""
        self._buffers = {i: self._buffers.get(i, torch.empty_like(g)) for i, g in zip(used, gradients, strict=True)}
        with torch.no_grad():
            torch._foreach_copy_(list(self._buffers.values()), gradients)


def _detached(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.detach()
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(map(_detached, outputs))
    return outputs
