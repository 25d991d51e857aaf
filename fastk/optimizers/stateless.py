"""Steps that change no variable: on values that are handed in, or under a `StatelessScope`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastk.optimizers.plan import Tensors
from fastk.scopes import state
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

if TYPE_CHECKING:
    from fastk.optimizers.base import Optimizer


def stateless_apply(
    optimizer: Optimizer, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
) -> tuple[Tensors, Tensors]:
    """`Optimizer.stateless_apply`."""
    if not optimizer.built:
        raise ValueError(
            f"To call `stateless_apply`, {type(optimizer).__name__} must be built (i.e. its variables must have been "
            "created). You can build it via `optimizer.build(trainable_variables)`."
        )
    own, trainable = optimizer.variables, optimizer._trainable_variables
    for argument, values, variables in (
        ("optimizer_variables", optimizer_variables, own),
        ("trainable_variables", trainable_variables, trainable),
    ):
        if len(values) != len(variables):
            raise ValueError(
                f"Argument `{argument}` must be a list of tensors, one for each variable that the optimizer works on. "
                f"Received list with length {len(values)}, but expected {len(variables)} variables."
            )
    with _lent(optimizer, [*trainable, *own], [*trainable_variables, *optimizer_variables]) as new:
        optimizer.apply(grads)
    return new[: len(trainable)], new[len(trainable) :]


def apply_in_scope(optimizer: Optimizer, grads: Sequence[Any], trainable_variables: Any) -> None:
    """`Optimizer.apply` from the values of the open `StatelessScope`, to that scope."""
    if not optimizer.built:
        raise ValueError(
            f"{type(optimizer).__name__} makes its variables in its first step; inside a stateless scope they would be "
            "lost. Call `optimizer.build(trainable_variables)` before the scope is opened."
        )
    variables = [*optimizer._trainable_variables, *optimizer.variables]
    values = [v.value for v in variables]
    scope, state.stateless = state.stateless, None
    assert scope is not None
    try:
        with _lent(optimizer, variables, values) as new:
            optimizer.apply(grads, trainable_variables)
    finally:
        state.stateless = scope
    for update in zip(variables, new, strict=True):
        scope.add_update(update)


@contextlib.contextmanager
def _lent(optimizer: Optimizer, variables: list[Variable], values: Sequence[Any]) -> Iterator[Tensors]:
    """Inside, the variables hold copies of `values`, which are yielded. Not for several threads at once."""
    originals = [v._value for v in variables]
    copies = [convert_to_tensor(x, dtype=v.dtype).detach().clone() for v, x in zip(variables, values, strict=True)]
    optimizer._forget_plans()
    try:
        for variable, copy in zip(variables, copies, strict=True):
            variable._value = copy  # pyright: ignore[reportAttributeAccessIssue] - a parameter everywhere else
        yield copies
    finally:
        for variable, original in zip(variables, originals, strict=True):
            variable._value = original
        optimizer._forget_plans()
