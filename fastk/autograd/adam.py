"""One step of Adam over lists of tensors."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_lists
from fastk.dispatch import choose


def adam_(
    params: list[Tensor],
    grads: list[Tensor],
    m: list[Tensor],
    v: list[Tensor],
    vhat: list[Tensor] | None,
    step: Tensor | int,
    learning_rate: Tensor | float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    implementation: str = "auto",
) -> None:
    """Updates params, m, v and vhat in place (Kingma & Ba 2015, with Keras's place of epsilon).

    Args:
        params: the variables, all on one device.
        grads: like params.
        m: the first moments, like params.
        v: the second moments, like params.
        vhat: the largest second moments (AMSGrad), like params; or None.
        step: 1 for the first; an int or a 0-d integer tensor, which is not read on the host if it is on a GPU.
        learning_rate: a float or a 0-d tensor, likewise.
        beta_1: the decay of m.
        beta_2: the decay of v.
        epsilon: added to sqrt(v).
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: lists of different lengths.

    >>> import torch
    >>> param, m, v = torch.ones(1), torch.zeros(1), torch.zeros(1)
    >>> adam_([param], [torch.tensor([3.0])], [m], [v], None, step=1, learning_rate=0.1)
    >>> param
    tensor([0.9000])
    """
    check_lists("adam_", params, grads=grads, m=m, v=v, vhat=vhat)
    if params:
        arguments = (params, grads, m, v, vhat, step, learning_rate, beta_1, beta_2, epsilon)
        choose("adam_", implementation, params[0], arguments).function(*arguments)
