"""How the optimizers' steps, which work in place over lists of tensors, are called: at once, or as ops of torch.

A trace of torch.compile sees `fastk::adam_` and its like, whose schemas say what is written. A plain call goes to the
kernel without them: for the hundreds of tensors of a model the dispatcher takes longer than the launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from fastk.autograd.library import Op, _traced, define
from fastk.dispatch import Choice, kernel_function
from fastk.kernels.step_options import StepOptions

# The ends of the schemas: a union of types is two arguments there, and `StepOptions` its fields.
OPTIONS = (
    "bool has_options, float weight_decay, bool[]? decayed, float? clipvalue, float? clipnorm, float? global_clipnorm, "
    "Tensor? scale_tensor, float? scale, Tensor? found_inf) -> ()"
)


def define_step(schema: str, nested: Callable[..., tuple]) -> Op:
    """Registers a step as an op; `nested` turns the schema's arguments into those of the contract."""
    name = schema[: schema.index("(")]

    def run(*arguments: Any) -> None:
        kernel_function(name, arguments[-1])(*nested(*arguments[:-1]))
        count_writes(a for a, said in zip(arguments, op.overload._schema.arguments, strict=True) if said.is_write)

    op = define(schema, lambda *_: None, run)
    return op


def take_step(
    choice: Choice, arguments: tuple, changing: tuple[list[Tensor] | None, ...], op: Op, flat: Callable[..., tuple]
) -> None:
    """Calls the kernel that `choice` names; under a trace as `op`, with what `flat` makes of `arguments`."""
    if _traced(arguments[0][0]):
        with torch.no_grad():
            op.overload(*flat(*arguments), choice.implementation)
    else:
        choice.function(*arguments)
        count_writes(changing)


def count_writes(lists: Iterable[list[Tensor] | None]) -> None:
    """Tells autograd of writes that it did not see: a backward pass that needs the old values then says so."""
    for tensors in lists:
        if tensors:
            torch.autograd.graph.increment_version(tensors)


def split(value: Tensor | float | None) -> tuple[Tensor | None, float | None]:
    """A scalar as a schema takes it: (tensor, number)."""
    return (value, 0) if isinstance(value, Tensor) else (None, value)


def joined(tensor: Tensor | None, number: float | None) -> Tensor | float | None:
    """The inverse of `split`."""
    return number if tensor is None else tensor


def flat_options(options: StepOptions | None) -> tuple:
    """Options as `OPTIONS` has them."""
    if options is None:
        return False, 0.0, None, None, None, None, None, None, None
    decayed = None if options.decayed is None else [bool(each) for each in options.decayed]
    limits = (options.clipvalue, options.clipnorm, options.global_clipnorm)
    return True, options.weight_decay, decayed, *limits, *split(options.gradient_scale), options.found_inf


def nested_options(given: bool, decay, decayed, clipvalue, clipnorm, global_clipnorm, scale_tensor, scale, found_inf):
    """The inverse of `flat_options`."""
    if not given:
        return None
    return StepOptions(decay, decayed, clipvalue, clipnorm, global_clipnorm, joined(scale_tensor, scale), found_inf)
