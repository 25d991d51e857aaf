"""An elementwise activation by name."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_activation
from fastk.dispatch import choose


def activation(x: Tensor, name: str, implementation: str = "auto") -> Tensor:
    """The activation called `name` (see `kernels.activation`) of each element of x.

    Raises:
        ValueError: there is no activation of this name.

    >>> import torch
    >>> activation(torch.tensor([-1.0, 2.0]), "leaky_relu")
    tensor([-0.2000,  2.0000])
    """
    check_activation(name, "activation")
    return choose("activation", implementation, x, (x, name)).function(x, name)
