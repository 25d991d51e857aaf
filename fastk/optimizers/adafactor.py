"""Adafactor."""

from __future__ import annotations

from typing import Any, Unpack

import torch

from fastk.device import device_scope
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options
from fastk.variable import Variable


class Adafactor(Optimizer):
    """Adam without momentum, that keeps of the mean squares of a matrix only the means of rows and of columns.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments: the largest relative step.
        beta_2_decay: at step t the old means have weight `1 - t ** beta_2_decay`.
        epsilon_1: added to squared gradients.
        epsilon_2: least root mean square that a variable is taken to have.
        clip_threshold: largest root mean square of an update, before the learning rate.
        relative_step: kept in the configuration; as in Keras no relative step exceeds `1 / sqrt(t)`, either way.
        options: the arguments of `Optimizer`.

    Source: Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018.

    >>> import fastk
    >>> w = fastk.Variable([[1.0, 1.0]])
    >>> fastk.optimizers.Adafactor(learning_rate=0.5).apply([fastk.ops.convert_to_tensor([[2.0, 2.0]])], [w])
    >>> w.numpy()
    array([[0.5, 0.5]], dtype=float32)
    """

    hyperparameters = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")

    _is_elementwise = False

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_2_decay = beta_2_decay
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2
        self.clip_threshold = clip_threshold
        self.relative_step = relative_step

    def _create_slots(self, variables):
        self._r: list[Variable | None] = []
        self._c: list[Variable | None] = []
        self._v: list[Variable | None] = []
        for variable in variables:
            for slot, made in zip((self._r, self._c, self._v), self._state_of(variable), strict=True):
                slot.append(made)
        self._slots.extend([self._r, self._c, self._v])

    def _state_of(self, variable: Variable) -> tuple[Variable | None, Variable | None, Variable | None]:
        """Means over rows and over columns, and the mean squares they stand for; vectors have the last alone."""
        shape, name, exempt = variable.shape, variable.name, variable.overwrite_with_gradient
        rows = columns = None
        with device_scope(variable.device):
            if len(shape) < 2:  # Keras's files have a zero in their places
                rows, columns = (Variable(0, name=name, trainable=False) for _ in range(2))
                self._track(rows)
                self._track(columns)
            elif not exempt:
                rows = self.add_variable(shape[:-1], dtype=variable.dtype, name=name)
                columns = self.add_variable((*shape[:-2], shape[-1]), dtype=variable.dtype, name=name)
        return rows, columns, None if exempt else self.add_variable_from_reference(variable, "velocity")

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step):
        rows, columns, squares = slots
        new = step**self.beta_2_decay
        for gradient, row, column, square in zip(gradients, rows, columns, squares, strict=True):
            self._update_squares(gradient.square().add_(self.epsilon_1), row, column, square, new)
        updates = torch._foreach_sqrt(squares)
        torch._foreach_reciprocal_(updates)
        torch._foreach_mul_(updates, gradients)
        sizes = torch._foreach_div(_root_mean_squares(updates), self.clip_threshold)
        torch._foreach_clamp_min_(sizes, 1.0)
        factors = _root_mean_squares(parameters)
        torch._foreach_clamp_min_(factors, self.epsilon_2)
        torch._foreach_div_(factors, sizes)
        torch._foreach_mul_(factors, _smaller(learning_rate, step**-0.5))
        torch._foreach_mul_(updates, factors)
        torch._foreach_sub_(parameters, updates)

    @staticmethod
    def _update_squares(regulated, row, column, square, new) -> None:
        old = 1.0 - new
        if regulated.ndim < 2:
            square.mul_(old).add_(regulated * new)
            return
        row.mul_(old).add_(regulated.mean(-1) * new)
        column.mul_(old).add_(regulated.mean(-2) * new)
        torch.mul((row / row.mean(-1, keepdim=True)).unsqueeze(-1), column.unsqueeze(-2), out=square)


def _root_mean_squares(tensors: Any) -> list[torch.Tensor]:
    norms = list(torch._foreach_norm(tensors))
    torch._foreach_div_(norms, [t.numel() ** 0.5 for t in tensors])
    return norms


def _smaller(a: Any, b: Any) -> Any:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        like = a if isinstance(a, torch.Tensor) else b
        return torch.minimum(torch.as_tensor(a, device=like.device), torch.as_tensor(b, device=like.device))
    return min(a, b)
