"""What a step does for one selection of the variables: worked out at its first use, replayed at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fastk.variable import Variable

if TYPE_CHECKING:
    from fastk.optimizers.base import Optimizer

Tensors = list[torch.Tensor]


def tensor_of(variable: Variable) -> torch.Tensor:
    """The variable's parameter, whatever scope is open."""
    assert variable._value is not None
    return variable._value


def tensors(variables: Sequence[Variable | None]) -> Tensors:
    """The parameters themselves, whatever scope is open; what is None or not initialised is left out."""
    return [v._value for v in variables if v is not None and v._value is not None]


class Group:
    """Variables of one dtype on one device, as lists of tensors that a multi-tensor kernel takes.

    Attributes:
        positions: where their gradients stand among those of the plan; None where all do, in order.
        parameters: the variables' values.
        slots: the optimizer's state, one list as long as `parameters` for each kind.
    """

    __slots__ = ("parameters", "positions", "slots")

    def __init__(self, optimizer: Optimizer, variables: Sequence[Variable], positions: list[int] | None):
        chosen = variables if positions is None else [variables[i] for i in positions]
        indices = [optimizer._get_variable_index(v) for v in chosen]
        self.positions = positions
        self.parameters = tensors(chosen)
        self.slots = [tensors([slot[i] for i in indices]) for slot in optimizer._slots]


class Plan:
    """The lists of tensors that a step works on.

    Attributes:
        updated: the variables that the update moves.
        signature: dtype, shape and strides of each of their gradients.
        kept: where their gradients stand among those given; None where all do.
        overwritten: `(position, variable)` of those that take their gradient as their value.
        groups: `updated` by dtype and device.
        decayed: parameters that weight decay shrinks.
        accumulators: sums of gradients, in the order of `updated`.
        averages, averaged: moving averages of all the optimizer's variables, and those variables' parameters.
        constrained: variables of `updated` with a constraint.
    """

    def __init__(self, optimizer: Optimizer, indices: Sequence[int]):
        variables = [optimizer._trainable_variables[i] for i in indices]
        self.overwritten = [(i, v) for i, v in enumerate(variables) if v.overwrite_with_gradient]
        self.updated = [v for v in variables if not v.overwrite_with_gradient]
        self.kept = None
        if self.overwritten:
            self.kept = [i for i, v in enumerate(variables) if not v.overwrite_with_gradient]
        parameters = tensors(self.updated)
        self.signature = [(p.dtype, p.shape, p.stride()) for p in parameters]
        self.groups = self._grouped(optimizer, parameters)
        self.decayed = tensors([v for v in self.updated if optimizer._use_weight_decay(v)])
        self.constrained = [v for v in self.updated if v.constraint is not None]
        self.accumulators: Tensors = []
        if optimizer.gradient_accumulation_steps:
            own = optimizer._accumulated_gradients
            self.accumulators = tensors([own[optimizer._get_variable_index(v)] for v in self.updated])
        self.averages: Tensors = []
        if optimizer.use_ema:
            averages = optimizer._model_variables_moving_average
            self.averages = tensors(averages)
            trainable = zip(optimizer._trainable_variables, averages, strict=True)
            self.averaged = tensors([v for v, average in trainable if average is not None])

    def _grouped(self, optimizer: Optimizer, parameters: Tensors) -> list[Group]:
        positions: dict[tuple, list[int]] = {}
        for i, parameter in enumerate(parameters):
            positions.setdefault((parameter.dtype, parameter.device), []).append(i)
        if len(positions) == 1:
            return [Group(optimizer, self.updated, None)]
        return [Group(optimizer, self.updated, where) for where in positions.values()]

    def taken(self, gradients: Sequence) -> Tensors | None:
        """`gradients` as the kernels take them, or None where they first have to be selected or converted.

        Kernels read memory without looking: the layout, too, has to be the parameter's.
        """
        if len(gradients) != len(self.signature):
            return None
        result = gradients if isinstance(gradients, list) else list(gradients)
        for i, (gradient, (dtype, shape, stride)) in enumerate(zip(gradients, self.signature, strict=True)):
            if type(gradient) is not torch.Tensor or gradient.dtype is not dtype or gradient.shape != shape:
                return None
            if gradient.stride() != stride:
                result = list(result)  # the caller's list is the caller's
                result[i] = laid_out(gradient, stride)
        return result


def laid_out(tensor: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """`tensor` with the given strides, copied where it has others."""
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
