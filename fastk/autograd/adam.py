"""One step of Adam over lists of tensors."""

from __future__ import annotations

from torch import Tensor

from fastk.autograd.checks import check_lists, check_options
from fastk.autograd.steps import (
    OPTIONS,
    StepOptions,
    define_step,
    flat_options,
    joined,
    nested_options,
    split,
    take_step,
)
from fastk.contest import contested
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
    options: StepOptions | None = None,
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
        options: what comes before the step: loss scaling, clipping, weight decay.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: lists of different lengths, or options that exclude each other.

    >>> import torch
    >>> param, m, v = torch.ones(1), torch.zeros(1), torch.zeros(1)
    >>> adam_([param], [torch.tensor([3.0])], [m], [v], None, step=1, learning_rate=0.1)
    >>> param
    tensor([0.9000])
    """
    check_lists("adam_", params, grads=grads, m=m, v=v, vhat=vhat)
    if options is not None:
        check_options("adam_", params, options)
    if params:
        arguments = (params, grads, m, v, vhat, step, learning_rate, beta_1, beta_2, epsilon, options)
        choice = choose("adam_", implementation, params[0], arguments)
        if choice.implementation == "aten":
            choice.function(*arguments)
        else:
            take_step(choice, arguments, (params, m, v, vhat), _adam, _flat)


def _flat(params, grads, m, v, vhat, step, learning_rate, beta_1, beta_2, epsilon, options):
    scalars = (*split(step), *split(learning_rate), beta_1, beta_2, epsilon)
    return params, grads, m, v, vhat or [], *scalars, *flat_options(options)


def _nested(params, grads, m, v, vhat, step_tensor, step, rate_tensor, rate, beta_1, beta_2, epsilon, *options):
    scalars = (joined(step_tensor, step), joined(rate_tensor, rate), beta_1, beta_2, epsilon)
    return params, grads, m, v, vhat or None, *scalars, nested_options(*options)


_adam = define_step(
    "adam_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] m, Tensor(c!)[] v, Tensor(d!)[] vhat, Tensor? step_tensor,"
    " int step, Tensor? rate_tensor, float rate, float beta_1, float beta_2, float epsilon, " + OPTIONS,
    _nested,
)


contested("adam_", "adam", adam_, in_place=True, varying=(5,))
