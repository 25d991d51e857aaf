"""What holds for the code inside a `with` block: stateless values, autocasting, symbolic execution.

`state.active` is non-zero while any of them holds, so that reading a variable costs one
check in the common case where none does.
"""

from __future__ import annotations

import threading
from typing import Any

from fastk import dtypes


class _State(threading.local):
    active: int = 0
    stateless: StatelessScope | None = None
    autocast: AutocastScope | None = None
    symbolic: bool = False
    # Above zero inside a layer call or a training step: tensors are plain there, outside they are `fastk.Tensor`.
    internal: int = 0
    # Whether a rematerialized function runs for the second time, in the backward pass.
    recomputing: bool = False


state = _State()


class _Scope:
    """Sets one attribute of `state` inside the `with` block."""

    attribute: str

    def __enter__(self):
        self._before = getattr(state, self.attribute)
        setattr(state, self.attribute, self._entered_value())
        state.active += 1
        return self

    def __exit__(self, *exception):
        state.active -= 1
        setattr(state, self.attribute, self._before)

    def _entered_value(self):
        return self


class SymbolicScope(_Scope):
    """Everything inside runs on the `meta` device: shapes and dtypes without values."""

    attribute = "symbolic"

    def _entered_value(self):
        return True


class ConcreteScope(_Scope):
    """Leaves a `SymbolicScope`: what is made inside, such as a variable of a layer that is being built, has values.

    Args:
        device: where tensors are made.
    """

    attribute = "symbolic"

    def __init__(self, device: Any):
        self._device = device

    def __enter__(self):
        self._device.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._device.__exit__(*exception)

    def _entered_value(self):
        return False


class AutocastScope(_Scope):
    """Floating-point variables read inside are cast to `dtype` (None: no cast)."""

    attribute = "autocast"

    def __init__(self, dtype: Any):
        self.dtype = None if dtype is None else dtypes.standardize_dtype(dtype)
        if self.dtype is not None and "float" not in self.dtype:
            raise ValueError(f"`AutocastScope` takes a floating-point dtype such as 'float16'. Received: {dtype!r}.")
        self.torch_dtype = None if dtype is None else dtypes.to_torch_dtype(self.dtype)

    def maybe_cast(self, value):
        """`value` in the scope's dtype, where both are floating point."""
        if self.torch_dtype is not None and value.is_floating_point():
            return value.to(self.torch_dtype)
        return value


class StatelessScope(_Scope):
    """Inside, `assign` records the new value instead of writing it, and `value` reads what was recorded.

    Args:
        state_mapping: pairs `(variable, value)` that variables start from.
        collect_losses: keep the losses that layers add, in `scope.losses`.
        initialize_variables: initialise variables made inside when the scope ends.

    Example:

    >>> import fastk
    >>> v = fastk.Variable(1.0)
    >>> with fastk.StatelessScope() as scope:
    ...     _ = v.assign(5.0)
    >>> float(v), float(scope.get_current_value(v))
    (1.0, 5.0)
    """

    attribute = "stateless"

    def __init__(self, state_mapping=None, collect_losses: bool = False, initialize_variables: bool = True):
        from fastk.tensor import convert_to_tensor
        from fastk.variable import Variable

        self.collect_losses = collect_losses
        self.initialize_variables = initialize_variables
        self.losses: list = []
        self.state_mapping: dict[int, Any] = {}
        self._uninitialized: list = []
        for variable, value in state_mapping or {}:
            if not isinstance(variable, Variable):
                raise ValueError(
                    "Invalid reference variable in StatelessScope: all keys in argument `mapping` must be Variable "
                    f"instances. Received instead: {variable!r} (of type {type(variable)})."
                )
            if value is not None:
                value = convert_to_tensor(value, dtype=variable.dtype)
                if tuple(value.shape) != tuple(variable.shape):
                    raise ValueError(
                        "Invalid variable value in StatelessScope: all values in argument `mapping` must be tensors "
                        f"with the shape of the variable. Expected {variable.shape} for variable '{variable.path}'. "
                        f"Received: shape {tuple(value.shape)}."
                    )
                self.state_mapping[id(variable)] = value

    def add_loss(self, loss) -> None:
        """Keeps a loss that a layer added inside the scope."""
        self.losses.append(loss)

    def add_update(self, update) -> None:
        """Records `(variable, value)` in place of an assignment."""
        variable, value = update
        self.state_mapping[id(variable)] = value

    def get_current_value(self, variable):
        """The value recorded for `variable`, or None."""
        return self.state_mapping.get(id(variable))

    def register_uninitialized(self, variable) -> None:
        """Remembers a variable made inside, to be initialised when the outermost scope ends."""
        self._uninitialized.append(variable)

    def __exit__(self, *exception):
        super().__exit__(*exception)
        if state.stateless is not None:
            state.stateless._uninitialized += self._uninitialized
        elif self.initialize_variables and exception[0] is None:
            for variable in self._uninitialized:
                variable._deferred_initialize()


def in_symbolic_scope() -> bool:
    """Whether shapes are being inferred in this thread."""
    return state.symbolic


class internal:  # noqa: N801 - used as a context manager, like contextlib's own
    """Inside, layers and losses hand out plain torch tensors: nothing is wrapped at the boundary."""

    def __enter__(self):
        state.internal += 1

    def __exit__(self, *exception):
        state.internal -= 1
