"""Steps of optimizers over all tensors of a model, in place: fastk's, and torch's optimizers at their best settings.

Operands are params, grads, the state, each as many tensors, and last the number of the step, on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastk import autograd
from fastk.bench.ops.rivals import SAME, Prepared, Rival

RATE = 1e-3
EPSILON = 1e-30  # Keras and torch add it in different places: where it is nothing they compute the same


@dataclass(frozen=True)
class Step:
    """One optimizer.

    Args:
        states: tensors of state for each parameter.
        ours: `ours(groups, step, implementation)`, groups being params, grads and the state.
        optimizer: makes torch's optimizer of parameters on a device.
    """

    states: int
    ours: Callable[[list[list[Tensor]], Tensor, str], None]
    optimizer: Callable[[list[Tensor], bool], torch.optim.Optimizer]


def _adam(groups: list[list[Tensor]], step: Tensor, implementation: str) -> None:
    params, grads, m, v = groups
    autograd.adam_(params, grads, m, v, None, step, RATE, epsilon=EPSILON, implementation=implementation)


def _sgd(groups: list[list[Tensor]], step: Tensor, implementation: str) -> None:
    params, grads, momenta = groups
    autograd.sgd_(params, grads, momenta, RATE, momentum=0.9, implementation=implementation)


def _rmsprop(groups: list[list[Tensor]], step: Tensor, implementation: str) -> None:
    params, grads, velocities = groups
    autograd.rmsprop_(params, grads, velocities, None, None, RATE, epsilon=EPSILON, implementation=implementation)


STEPS = {
    "adam": Step(
        2, _adam, lambda params, on_gpu: torch.optim.Adam(params, RATE, eps=EPSILON, fused=True, capturable=on_gpu)
    ),
    "sgd": Step(1, _sgd, lambda params, on_gpu: torch.optim.SGD(params, RATE, momentum=0.9, fused=True)),
    "rmsprop": Step(
        1,
        _rmsprop,
        lambda params, on_gpu: torch.optim.RMSprop(
            params, RATE, alpha=0.9, eps=EPSILON, foreach=True, capturable=on_gpu
        ),
    ),
}


def operands(name: str, sizes: tuple[tuple[int, ...], ...], normal: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """Parameters and gradients that are no zeros, a state of zeros, and the number of the first step."""
    params, grads = ([normal(*size, grad=False) for size in sizes] for _ in range(2))
    states = [torch.zeros_like(param) for _ in range(STEPS[name].states) for param in params]
    return *params, *grads, *states, torch.ones((), dtype=torch.int64, device=params[0].device)


def groups(name: str, tensors: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """Params, grads and the state, of operands."""
    count = 2 + STEPS[name].states
    size = (len(tensors) - 1) // count
    return [list(tensors[start : start + size]) for start in range(0, count * size, size)]


def ours(name: str) -> Callable[..., None]:
    """fastk's step: `call(*operands, implementation=...)`."""

    def call(*tensors: Tensor, implementation: str) -> None:
        STEPS[name].ours(groups(name, tensors), tensors[-1], implementation)

    return call


def least_bytes(name: str, tensors: tuple[Tensor, ...]) -> int:
    """All is read once, and all but the gradients written once."""
    params, grads, *states = (sum(t.numel() * t.element_size() for t in group) for group in groups(name, tensors))
    return 2 * params + grads + 2 * sum(states)


@dataclass(frozen=True)
class Optimizer(Rival):
    """torch's optimizer, by its name in `STEPS`."""

    name: str = "adam"

    def prepare(self, inputs: tuple[Tensor, ...]) -> Prepared:
        """The optimizer with the operands as its parameters and their gradients."""
        params, grads, *_ = groups(self.name, inputs)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optimizer = STEPS[self.name].optimizer(params, params[0].is_cuda)
        return Prepared(lambda *_: optimizer.step(), inputs, (SAME,) * len(inputs), SAME, results=len(params))
