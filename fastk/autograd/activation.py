"""An elementwise activation by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.autograd.checks import check_activation
from fastk.autograd.library import Call, define, differentiate
from fastk.contest import contested
from fastk.dispatch import choose
from fastk.kernels.activation import aten, saves_input


def activation(x: Tensor, name: str, implementation: str = "auto") -> Tensor:
    """The activation called `name` (see `kernels.activation`) of each element of x.

    Raises:
        ValueError: there is no activation of this name.
        ImplementationUnavailable: the implementation asked for by name cannot run.

    >>> import torch
    >>> activation(torch.tensor([-1.0, 2.0]), "leaky_relu")
    tensor([-0.2000,  2.0000])
    """
    check_activation(name, "activation")
    choice = choose("activation", implementation, x, (x, name))
    if choice.implementation == "aten":
        return choice.function(x, name)
    return _activation(x, name, choice.implementation)


def _gradients(call: Call, g: Tensor) -> Sequence[Tensor | None]:
    x, name, implementation = call.arguments
    return [_backward(g, x if saves_input(name) else call.outputs[0], name, implementation)]


# The results lie in memory as the inputs do: channels_last stays so.
_forward = define("activation_forward(Tensor x, str name) -> Tensor", lambda x, name: torch.empty_like(x))
_backward = define(
    "activation_backward(Tensor g, Tensor value, str name) -> Tensor", lambda g, value, name: torch.empty_like(value)
)
_activation = differentiate(_forward, _gradients, aten.activation)


contested("activation", "activation", activation)
