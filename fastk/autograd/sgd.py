"""One step of stochastic gradient descent over lists of tensors."""

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


def sgd_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor] | None,
    learning_rate: Tensor | float,
    momentum: float = 0.0,
    nesterov: bool = False,
    options: StepOptions | None = None,
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
        options: what comes before the step: loss scaling, clipping, weight decay.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: lists of different lengths, momentum without momenta or momenta without momentum, or options that
            exclude each other.

    >>> import torch
    >>> param = torch.ones(1)
    >>> sgd_([param], [torch.tensor([3.0])], None, learning_rate=0.25)
    >>> param
    tensor([0.2500])
    """
    check_lists("sgd_", params, grads=grads, momenta=momenta)
    if (momenta is None) != (momentum == 0):
        raise ValueError(f"sgd_ takes `momenta` where momentum is not 0, and not else. Received {momentum=}.")
    if options is not None:
        check_options("sgd_", params, options)
    if params:
        arguments = (params, grads, momenta, learning_rate, momentum, nesterov, options)
        choice = choose("sgd_", implementation, params[0], arguments)
        if choice.implementation == "aten":
            choice.function(*arguments)
        else:
            take_step(choice, arguments, (params, momenta), _sgd, _flat)


def _flat(params, grads, momenta, learning_rate, momentum, nesterov, options):
    return params, grads, momenta or [], *split(learning_rate), momentum, nesterov, *flat_options(options)


def _nested(params, grads, momenta, rate_tensor, rate, momentum, nesterov, *options):
    return params, grads, momenta or None, joined(rate_tensor, rate), momentum, nesterov, nested_options(*options)


_sgd = define_step(
    "sgd_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] momenta, Tensor? rate_tensor, float rate, float momentum,"
    " bool nesterov, " + OPTIONS,
    _nested,
)


contested("sgd_", "sgd", sgd_, in_place=True)
