"""What a step does for one selection of the variables: worked out at its first use, replayed at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fastk.distribution.sharding import group_of
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
    """Variables of one dtype, on one device, with the same kinds of slots: lists for a multi-tensor kernel.

    Attributes:
        positions: where their gradients stand among those of the plan; None where all do, in order.
        parameters: the variables' values.
        slots: the optimizer's state: for each kind a list as long as `parameters`, or an empty one.
        decayed: the parameters that weight decay shrinks.
        are_decayed: for each parameter whether it is one of them; None where all are.
    """

    __slots__ = ("are_decayed", "decayed", "parameters", "positions", "slots")

    def __init__(self, optimizer: Optimizer, variables: Sequence[Variable], positions: list[int]):
        chosen = [variables[i] for i in positions]
        indices = [optimizer._get_variable_index(v) for v in chosen]
        self.positions = None if len(chosen) == len(variables) else positions
        self.parameters = tensors(chosen)
        self.slots = [tensors([slot[i] for i in indices]) for slot in slots_of(optimizer)]
        are_decayed = [optimizer._use_weight_decay(v) for v in chosen]
        self.decayed = tensors([v for v, decays in zip(chosen, are_decayed, strict=True) if decays])
        self.are_decayed = None if all(are_decayed) else are_decayed

    def chosen(self, gradients: Tensors) -> Tensors:
        """Those of the group among the gradients of the plan."""
        return gradients if self.positions is None else [gradients[i] for i in self.positions]


def slots_of(optimizer: Optimizer) -> list[list[Variable | None]]:
    """The kinds of slots that all variables were asked for; a user's optimizer may have others."""
    return [slot for slot in optimizer._slots if len(slot) == len(optimizer._trainable_variables)]


class Plan:
    """The lists of tensors that a step works on.

    Attributes:
        updated: the variables that the update moves.
        signature: dtype, device, shape and strides of each of their gradients.
        kept: where their gradients stand among those given; None where all do.
        overwritten: `(position, variable)` of those that take their gradient as their value.
        groups: `updated` in groups.
        accumulators: sums of gradients, in the order of `updated`.
        all_accumulators: those of all the optimizer's variables that are not overwritten.
        averages, averaged: moving averages of all the optimizer's variables, and those variables' parameters.
        constrained: variables of `updated` with a constraint.
        parts_in: the processes that hold parts of `updated`; None where this one has them whole.
    """

    def __init__(self, optimizer: Optimizer, indices: Sequence[int]):
        variables = [optimizer._trainable_variables[i] for i in indices]
        self.overwritten = [(i, v) for i, v in enumerate(variables) if v.overwrite_with_gradient]
        self.updated = [v for v in variables if not v.overwrite_with_gradient]
        self.kept = None
        if self.overwritten:
            self.kept = [i for i, v in enumerate(variables) if not v.overwrite_with_gradient]
        self.signature = [(p.dtype, p.device, p.shape, p.stride()) for p in tensors(self.updated)]
        self.groups = self._grouped(optimizer)
        self.parts_in = group_of(self.updated)
        self.constrained = [v for v in self.updated if v.constraint is not None]
        trainable = optimizer._trainable_variables
        if optimizer.gradient_accumulation_steps:
            sums = optimizer._accumulated_gradients
            self.accumulators = tensors([sums[optimizer._get_variable_index(v)] for v in self.updated])
            pairs = zip(trainable, sums, strict=True)
            self.all_accumulators = tensors([each for v, each in pairs if not v.overwrite_with_gradient])
        if optimizer.use_ema:
            averages = optimizer._model_variables_moving_average
            self.averages = tensors(averages)
            self.averaged = tensors([v for v, each in zip(trainable, averages, strict=True) if each is not None])

    def _grouped(self, optimizer: Optimizer) -> list[Group]:
        positions: dict[tuple, list[int]] = {}
        for i, variable in enumerate(self.updated):
            index, value = optimizer._get_variable_index(variable), tensor_of(variable)
            kinds = tuple(slot[index] is not None for slot in slots_of(optimizer))
            positions.setdefault((value.dtype, value.device, kinds), []).append(i)
        return [Group(optimizer, self.updated, where) for where in positions.values()]

    def taken(self, gradients: Sequence) -> Tensors | None:
        """`gradients` as the kernels take them, or None where they first have to be selected or converted.

        Kernels read memory without looking: the layout, too, has to be the parameter's.
        """
        if len(gradients) != len(self.signature):
            return None
        result = gradients if isinstance(gradients, list) else list(gradients)
        for i, (gradient, (dtype, device, shape, stride)) in enumerate(zip(gradients, self.signature, strict=True)):
            if type(gradient) is not torch.Tensor or gradient.dtype is not dtype:
                return None
            if gradient.shape != shape or gradient.device != device:
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
