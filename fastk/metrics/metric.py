"""`Metric`, the base of all metrics: a state on the device, updated without asking the host, read when wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastk import config, dtype_policies, dtypes, tree
from fastk import device as devices
from fastk.naming import auto_name, name_scope
from fastk.scopes import StatelessScope, state
from fastk.tensor import to_boundary
from fastk.variable import Variable


def zeros(shape: tuple[int, ...], dtype: Any = None) -> torch.Tensor:
    """The first value of a metric's state."""
    return torch.zeros(shape, dtype=dtypes.to_torch_dtype(dtype), device=devices.get_device())


def accumulate(variable: Variable, value: Any, times: float = 1) -> None:
    """Adds to a variable of a metric: in place and unchecked, unless a scope records assignments.

    Args:
        value: a number, or a tensor without gradient that broadcasts to the variable.
        times: a factor of `value`.
    """
    if state.active:
        variable.assign_add(value * times)
    elif times == 1:
        variable.value.add_(value)
    else:
        variable.value.add_(value, alpha=times)


class Metric:
    """Base of metrics: a subclass makes variables, adds to them in `update_state`, and reads them in `result`.

    Variables and metrics kept as attributes, also in lists and dicts, are found in `variables`.

    Args:
        dtype: dtype of the computation, or a dtype policy, whose compute dtype is meant; by default `floatx()`.
        name: by default the class's name in snake case.

    >>> import fastk
    >>> class Count(fastk.metrics.Metric):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.seen = self.add_weight(name="seen")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.seen.assign_add(len(y_true))
    ...     def result(self):
    ...         return self.seen
    >>> print(Count()([1, 2, 3], [1, 2, 3]))
    3.0
    """

    # Layers find the metrics among their attributes by this.
    _is_metric = True
    # Which way is better: "up" or "down"; None where it is not known.
    _direction: str | None = None

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name or auto_name(type(self).__name__)
        self._dtype = dtype_policies.get(dtype or config.floatx()).compute_dtype
        self._torch_dtype = dtypes.to_torch_dtype(self._dtype)
        self._variables: list[Variable] = []

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "result" in cls.__dict__:
            cls.result = _at_boundary(cls.result)

    @property
    def dtype(self) -> str:
        """The dtype of the computation."""
        return self._dtype

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes a batch into the state."""
        raise NotImplementedError(f"{type(self).__name__} must implement `update_state`.")

    def result(self) -> Any:
        """The metric's value, from the state: a tensor, or a dict of tensors."""
        raise NotImplementedError(f"{type(self).__name__} must implement `result`.")

    def reset_state(self) -> None:
        """Sets the state to zero."""
        for variable in self.variables:
            if state.active:
                variable.assign(torch.zeros_like(variable.value))
            else:
                variable.value.detach().zero_()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`update_state`, then `result`."""
        self._check_super_called()
        self.update_state(*args, **kwargs)
        return self.result()

    def stateless_update_state(self, metric_variables: list, *args: Any, **kwargs: Any) -> list:
        """What the state would be after a batch, the state itself staying as it is.

        Args:
            metric_variables: values to start from, one for each of `variables`.
            *args, **kwargs: as `update_state` takes them.
        """
        with StatelessScope(self._mapping(metric_variables)) as scope:
            self.update_state(*args, **kwargs)
        return self._values_in(scope)

    def stateless_result(self, metric_variables: list) -> Any:
        """What `result` would be for the state `metric_variables`."""
        with StatelessScope(self._mapping(metric_variables)):
            return self.result()

    def stateless_reset_state(self) -> list:
        """What the state would be after `reset_state`."""
        with StatelessScope() as scope:
            self.reset_state()
        return self._values_in(scope)

    def _mapping(self, values: list) -> list[tuple[Variable, Any]]:
        variables = self.variables
        if len(values) != len(variables):
            raise ValueError(
                f"Argument `metric_variables` must be a list of tensors corresponding 1:1 to {type(self).__name__}()"
                f".variables. Received list with length {len(values)}, but expected {len(variables)} variables."
            )
        return list(zip(variables, values, strict=True))

    def _values_in(self, scope: StatelessScope) -> list:
        values = []
        for variable in self.variables:
            value = scope.get_current_value(variable)
            values.append(variable if value is None else value)
        return values

    def add_variable(
        self,
        shape: tuple[int, ...] = (),
        initializer: Any = None,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """Makes a variable of the state.

        Args:
            shape: its shape.
            initializer: its first value, or what makes it; zero where None.
            dtype: by default `floatx()`.
            aggregation: how replicas combine it.
            name: one path element.
        """
        self._check_super_called()
        if initializer is not None and not callable(initializer):
            from fastk import initializers

            initializer = initializers.get(initializer)
        with name_scope(self.name.replace("/", ">"), caller=self):
            variable = Variable(
                initializer or zeros,
                shape=shape,
                dtype=dtype,
                trainable=False,
                autocast=False,  # a count in half precision stops at 2048
                aggregation=aggregation,
                synchronization="on_read",
                name=name,
            )
        self._variables.append(variable)
        return variable

    def add_weight(
        self, shape: tuple[int, ...] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """`add_variable` with the arguments that layers use."""
        return self.add_variable(shape=shape, initializer=initializer, dtype=dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The state: the metric's own variables, then those of metrics in it."""
        own: dict[int, Variable] = {}
        inner: dict[int, Metric] = {}
        for value in vars(self).values():
            for leaf in _tracked(value):
                (own if isinstance(leaf, Variable) else inner)[id(leaf)] = leaf
        for metric in inner.values():
            own.update((id(variable), variable) for variable in metric.variables)
        return list(own.values())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A metric from `get_config`'s result."""
        return cls(**config)

    def _check_super_called(self) -> None:
        if "_variables" not in self.__dict__:
            raise RuntimeError(
                f"You forgot to call `super().__init__()` in `{type(self).__name__}.__init__()`, before anything else."
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def _tracked(value: Any) -> Iterator[Any]:
    """The variables and metrics in an attribute."""
    if isinstance(value, (Variable, Metric)):
        yield value
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _tracked(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tracked(item)


def _at_boundary(result: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(result)
    def wrapped(self: Metric, *args: Any, **kwargs: Any) -> Any:
        state.internal += 1
        try:
            value = result(self, *args, **kwargs)
        finally:
            state.internal -= 1
        return to_boundary(value if type(value) is torch.Tensor else _snapshot(value))

    return wrapped


def _snapshot(value: Any) -> Any:
    """`value` with copies for the variables in it: a result stays what it was when the state moves on."""
    if isinstance(value, Variable):
        value = value.value
    if isinstance(value, torch.nn.Parameter):
        return value.detach().clone()
    return tree.map_structure(_snapshot, value) if isinstance(value, (dict, list, tuple)) else value
