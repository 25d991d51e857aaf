"""One step of RMSprop over lists of tensors."""

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


def rmsprop_(
    params: list[Tensor],
    grads: list[Tensor],
    velocities: list[Tensor],
    momenta: list[Tensor] | None,
    average_grads: list[Tensor] | None,
    learning_rate: Tensor | float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    options: StepOptions | None = None,
    implementation: str = "auto",
) -> None:
    """Updates params, velocities, momenta and average_grads in place (Hinton 2012; centered: Graves 2013).

    Args:
        params: the variables, all on one device.
        grads: like params.
        velocities: the averages of squared gradients, like params.
        momenta: like params; None where momentum is 0.
        average_grads: the averages of gradients, like params; None unless centered.
        learning_rate: a float or a 0-d tensor, which is not read on the host if it is on a GPU.
        rho: the decay of the averages.
        momentum: the decay of momenta.
        epsilon: added under the square root.
        centered: divide by the estimated standard deviation of the gradient instead of its root mean square.
        options: what comes before the step: loss scaling, clipping, weight decay.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: lists of different lengths, one that is missing, or given and not needed, or options that exclude
            each other.

    >>> import torch
    >>> param = torch.ones(1)
    >>> rmsprop_([param], [torch.tensor([4.0])], [torch.zeros(1)], None, None, learning_rate=0.1, rho=0.75)
    >>> param
    tensor([0.8000])
    """
    check_lists("rmsprop_", params, grads=grads, velocities=velocities, momenta=momenta, average_grads=average_grads)
    if (momenta is None) != (momentum == 0):
        raise ValueError(f"rmsprop_ takes `momenta` where momentum is not 0, and not else. Received {momentum=}.")
    if centered != (average_grads is not None):
        raise ValueError(f"rmsprop_ takes `average_grads` with centered=True and not else. Received {centered=}.")
    if options is not None:
        check_options("rmsprop_", params, options)
    if params:
        arguments = (params, grads, velocities, momenta, average_grads, learning_rate, rho, momentum, epsilon, options)
        choice = choose("rmsprop_", implementation, params[0], arguments)
        if choice.implementation == "aten":
            choice.function(*arguments)
        else:
            take_step(choice, arguments, (params, velocities, momenta, average_grads), _rmsprop, _flat)


def _flat(params, grads, velocities, momenta, average_grads, learning_rate, rho, momentum, epsilon, options):
    lists = (params, grads, velocities, momenta or [], average_grads or [])
    return *lists, *split(learning_rate), rho, momentum, epsilon, *flat_options(options)


def _nested(params, grads, velocities, momenta, average_grads, rate_tensor, rate, rho, momentum, epsilon, *options):
    lists = (params, grads, velocities, momenta or None, average_grads or None)
    return *lists, joined(rate_tensor, rate), rho, momentum, epsilon, nested_options(*options)


_rmsprop = define_step(
    "rmsprop_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] velocities, Tensor(c!)[] momenta,"
    " Tensor(d!)[] average_grads, Tensor? rate_tensor, float rate, float rho, float momentum, float epsilon, "
    + OPTIONS,
    _nested,
)


def _step(params, grads, velocities, momenta, averages, rate, rho, momentum, epsilon, options, implementation):
    """The step with the arguments that its implementations have: `centered` follows from the averages."""
    lists = params, grads, velocities, momenta, averages
    rmsprop_(*lists, rate, rho, momentum, epsilon, averages is not None, options, implementation)


contested("rmsprop_", "rmsprop", _step, in_place=True)
