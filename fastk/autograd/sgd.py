"""One step of stochastic gradient descent over lists of tensors."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_lists
from fastk.dispatch import choose


def sgd_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor] | None,
    learning_rate: Tensor | float,
    momentum: float = 0.0,
    nesterov: bool = False,
    implementation: str = "auto",
) -> None:
    """Updates params and momenta in place; Keras's momentum, which has the learning rate in it.

    Args:
        params: the variables, all on one device.
        grads: like params.
        momenta: like params; None where momentum is 0.
        learning_rate: a float or a 0-d tensor, which is not read on the host if it is on a GPU.
        momentum: the decay of momenta.
        nesterov: look ahead by one more decay of momenta (Sutskever et al. 2013).
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: lists of different lengths, or momentum without momenta, or momenta without momentum.

    >>> import torch
    >>> param = torch.ones(1)
    >>> sgd_([param], [torch.tensor([3.0])], None, learning_rate=0.25)
    >>> param
    tensor([0.2500])
    """
    check_lists("sgd_", params, grads=grads, momenta=momenta)
    if (momenta is None) != (momentum == 0):
        raise ValueError(f"sgd_ takes `momenta` where momentum is not 0, and not else. Received {momentum=}.")
    if params:
        arguments = (params, grads, momenta, learning_rate, momentum, nesterov)
        choose("sgd_", implementation, params[0], arguments).function(*arguments)
