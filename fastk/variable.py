"""`Variable`: a layer's state, Keras's interface around a `torch.nn.Parameter`.

A variable may stand wherever torch takes a tensor; `variable.value` is the parameter itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastk import budget, dtypes
from fastk import device as devices
from fastk.naming import auto_name, current_path
from fastk.scopes import ConcreteScope, state
from fastk.tensor import convert_to_numpy, convert_to_tensor

AGGREGATIONS = ("none", "mean", "sum", "only_first_replica")
SYNCHRONIZATIONS = ("none", "on_read", "on_write", "auto")


_find_initializer: Callable[[str], Any]


def set_initializer_lookup(find: Callable[[str], Any]) -> None:
    """Tells what an initializer's name means; `fastk.initializers`, which is built on this module, does so."""
    global _find_initializer
    _find_initializer = find


_find_operation: Callable[[str], Any]


def set_operation_lookup(find: Callable[[str], Any]) -> None:
    """Tells what an operation's name means; `fastk.ops`, which is built on this module, does so."""
    global _find_operation
    _find_operation = find


def standardize_shape(shape: Any) -> tuple[int | None, ...]:
    """`shape` as a tuple of non-negative ints and None."""
    if shape is None:
        raise ValueError("Undefined shapes are not supported.")
    if not hasattr(shape, "__iter__"):
        raise ValueError(f"Cannot convert '{shape}' to a shape: expected a tuple of integers, such as (32, 10).")
    shape = tuple(shape)
    for size in shape:
        if size is None:
            continue
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
            raise ValueError(
                f"Cannot convert '{shape}' to a shape. Found invalid entry '{size}' of type '{type(size)}'."
            )
        if size < 0:
            raise ValueError(f"Cannot convert '{shape}' to a shape. Negative dimensions are not allowed.")
    return tuple(None if size is None else int(size) for size in shape)


def makes_new_tensors(call: Callable) -> Callable:
    """Marks the `__call__` of an initializer that returns a contiguous tensor which nobody else has.

    A variable takes such a tensor as it is; of any other it keeps a copy.
    """
    call._makes_new_tensors = True  # type: ignore[attr-defined]
    return call


def _torch_operator(name: str) -> Any:
    """The method `name`, as torch has it."""
    method = getattr(torch.Tensor, name)

    def apply(self: Variable, *operands: Any) -> Any:
        operands = tuple(
            convert_to_tensor(o) if isinstance(o, (Variable, np.ndarray, np.generic, list, tuple)) else o
            for o in operands
        )
        return method(self.value, *operands)

    apply.__name__ = name
    return apply


def _operators(operation: str) -> tuple[Any, Any]:
    """A binary operator and its reverse, as `keras.ops` has them, whose rules for dtypes are not torch's."""

    def apply(self: Variable, other: Any) -> Any:
        return _find_operation(operation)(self.value, other)

    def reverse(self: Variable, other: Any) -> Any:
        return _find_operation(operation)(other, self.value)

    return apply, reverse


class Variable:
    """A tensor that persists and can be assigned: a weight, a counter, a random state.

    Args:
        initializer: the first value (array, number, tensor), or a callable `(shape, dtype) -> tensor`,
            or the name of one (`"zeros"`); a callable needs `shape`.
        shape: the shape, where `initializer` is a callable.
        dtype: by default that of the value, or `floatx()` for a callable.
        trainable: whether gradients are computed for it.
        autocast: whether a mixed-precision layer reads it in its compute dtype.
        aggregation, synchronization: how replicas combine it; kept for distributed training.
        name: one path element.
        layout: not supported; must be None.

    >>> import fastk
    >>> v = fastk.Variable([1.0, 2.0], name="scale")
    >>> v.assign_add([1.0, 1.0])
    tensor([2., 3.])
    >>> v
    <Variable path=scale, shape=(2,), dtype=float32, value=[2. 3.]>
    """

    name: str
    path: str
    aggregation: str
    synchronization: str

    def __init__(
        self,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str | None = "none",
        synchronization: str | None = "auto",
        name: str | None = None,
        layout: Any = None,
    ):
        if layout is not None:
            raise ValueError(
                f"Argument `layout`, the places of a variable's parts on several devices, is not supported: leave it "
                f"at None. Received: layout={layout!r}"
            )
        name = name or auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                f"Argument `name` must be a string and cannot contain character `/`. Received: name={name}"
            )
        self.name = name
        path = current_path()
        self.path = f"{path}/{name}" if path else name
        self._trainable = bool(trainable)
        self._autocast = bool(autocast)
        self.aggregation = _one_of("aggregation", aggregation, AGGREGATIONS)
        self.synchronization = _one_of("synchronization", synchronization, SYNCHRONIZATIONS)
        self._regularizer = self._constraint = None
        self._overwrite_with_gradient = False
        self._value: torch.nn.Parameter | None = None
        self._initializer = None
        if isinstance(initializer, str):
            initializer = _find_initializer(initializer)
        if callable(initializer) and not isinstance(initializer, (torch.Tensor, Variable)):
            if shape is None:
                raise ValueError(
                    "When creating a Variable from an initializer, the `shape` argument should be specified. "
                    f"Received: initializer={initializer} and shape={shape}"
                )
            self._dtype = dtypes.standardize_dtype(dtype)
            self._shape = self._checked_shape(shape)
            self._initializer = initializer
            item_size = dtypes.TORCH_DTYPES.get(self._dtype, torch.float64).itemsize
            budget.take(self._shape, item_size, f"The variable '{self.path}' of shape {self._shape}")
            if state.stateless is not None:
                state.stateless.register_uninitialized(self)
            else:
                self._deferred_initialize()
            return
        if state.stateless is not None:
            raise ValueError(
                "You are attempting to create a variable while in a stateless scope, where it would be lost. "
                "Create all variables in `__init__()` or `build()`, before the scope is opened."
            )
        if isinstance(initializer, torch.nn.Parameter) and dtype is None:
            self._value = initializer
            initializer.requires_grad_(self._trainable and initializer.is_floating_point())
            self._dtype = dtypes.standardize_dtype(initializer.dtype)
        else:
            value = _with_values(lambda: convert_to_tensor(initializer, dtype=dtype))
            self._dtype = dtypes.standardize_dtype(dtype if dtype is not None else value.dtype)
            self._set_value(value)
        assert self._value is not None
        self._shape = self._checked_shape(self._value.shape)

    def _checked_shape(self, shape: Any) -> tuple[int, ...]:
        shape = standardize_shape(shape)
        if None in shape:
            raise ValueError(
                "Shapes used to initialize variables must be fully-defined (no `None` dimensions). "
                f"Received: shape={shape} for variable path='{self.path}'"
            )
        return shape

    def _deferred_initialize(self) -> None:
        if self._value is not None:
            raise ValueError(f"Variable {self.path} is already initialized.")
        if state.stateless is not None:
            raise ValueError(
                f"Variable {self.path} cannot be initialized inside a stateless scope: leave the scope, or build first."
            )
        initializer = self._initializer
        assert initializer is not None
        self._set_value(
            _with_values(lambda: convert_to_tensor(initializer(self._shape, dtype=self._dtype), dtype=self._dtype)),
            is_new=getattr(type(initializer).__call__, "_makes_new_tensors", False),
        )
        self._initializer = None

    def _set_value(self, value: torch.Tensor, is_new: bool = False) -> None:
        value = value.detach().to(devices.get_device())
        # A value given as a tensor stays the caller's: the parameter has storage of its own.
        value = value if is_new else value.clone(memory_format=torch.contiguous_format)
        trained = self._trainable and value.is_floating_point()
        self._value = torch.nn.Parameter(value, requires_grad=trained)

    @property
    def value(self) -> torch.Tensor:
        """The parameter; under a scope, what the scope makes of it."""
        if state.active or self._value is None:
            return self._scoped_value()
        return self._value

    def _current(self) -> torch.Tensor | None:
        """The value itself, whatever scope is open; None where it is not made yet."""
        return self._value

    def _scoped_value(self) -> torch.Tensor:
        value = state.stateless.get_current_value(self) if state.stateless is not None else None
        if value is None and not state.symbolic:
            value = self._current()
        if state.symbolic:
            value = torch.empty(self._shape, dtype=dtypes.to_torch_dtype(self._dtype), device="meta")
        elif value is None:
            # Made in a stateless scope and not initialised yet: only shapes and placeholder values matter there.
            assert self._initializer is not None
            value = convert_to_tensor(self._initializer(self._shape, dtype=self._dtype))
        if self._autocast and state.autocast is not None:
            value = state.autocast.maybe_cast(value)
        return value

    def assign(self, value: Any) -> torch.Tensor:
        """Writes `value`, of the same shape, into the variable; returns what was written."""
        value = convert_to_tensor(value, dtype=self._dtype)
        if value.shape != self._shape:
            raise ValueError(
                "The shape of the target variable and the shape of the target value in `variable.assign(value)` must "
                f"match. variable.shape={self.shape}, Received: value.shape={tuple(value.shape)}. Target variable: "
                f"{self.path}"
            )
        if state.stateless is not None:
            state.stateless.add_update((self, value))
            return value
        if state.symbolic and value.is_meta:
            return value  # shapes are being inferred: there is nothing to write
        if self._value is None:
            raise ValueError(f"Variable {self.path} is not initialized yet: it cannot be assigned.")
        with torch.no_grad():
            self._value.copy_(value)
        return value.detach()

    def assign_add(self, value: Any) -> torch.Tensor:
        """Adds `value` to the variable."""
        return self.assign(self.value.detach() + convert_to_tensor(value, dtype=self._dtype))

    def assign_sub(self, value: Any) -> torch.Tensor:
        """Subtracts `value` from the variable."""
        return self.assign(self.value.detach() - convert_to_tensor(value, dtype=self._dtype))

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array (a copy)."""
        return np.array(convert_to_numpy(self.value))

    @property
    def dtype(self) -> str:
        """The dtype that reading gives: the compute dtype inside a mixed-precision layer."""
        scope = state.autocast
        if scope is not None and self._autocast and scope.dtype is not None and "float" in self._dtype:
            return scope.dtype
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self._shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._shape)

    @property
    def device(self) -> torch.device:
        """The device that the value lives on."""
        return self.value.device

    @property
    def trainable(self) -> bool:
        """Whether gradients are computed for the variable; settable."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        if self._value is not None and self._value.is_floating_point():
            self._value.requires_grad_(self._trainable)

    @property
    def regularizer(self) -> Any:
        """A callable whose value at this variable is added to the loss, or None."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, value: Any) -> None:
        self._regularizer = _callable_or_none("regularizer", value)

    @property
    def constraint(self) -> Any:
        """A callable applied to the value after each optimizer step, or None."""
        return self._constraint

    @constraint.setter
    def constraint(self, value: Any) -> None:
        self._constraint = _callable_or_none("constraint", value)

    @property
    def overwrite_with_gradient(self) -> bool:
        """Whether the optimizer writes the gradient into the variable instead of descending along it."""
        return self._overwrite_with_gradient

    @overwrite_with_gradient.setter
    def overwrite_with_gradient(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"`overwrite_with_gradient` must be a boolean. Received: {value}")
        self._overwrite_with_gradient = value

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func(*_values(args), **_values(kwargs or {}))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = convert_to_numpy(self.value)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __repr__(self) -> str:
        value = "" if self._value is None or self._value.is_meta else f", value={convert_to_numpy(self._value)}"
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}{value}>"

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.value[index]

    def __len__(self) -> int:
        return len(self.value)

    def __int__(self) -> int:
        return int(self._scalar())

    def __float__(self) -> float:
        return float(self._scalar())

    def __bool__(self) -> bool:
        raise TypeError(
            "A Keras Variable cannot be used as a boolean. Compare its value, as in `variable.numpy() > 0`, or, for "
            f"whether there is one, write `variable is not None`. Received: {self!r}."
        )

    def _scalar(self) -> torch.Tensor:
        if self.ndim > 0:
            raise TypeError(
                f"Only scalar arrays can be converted to Python scalars. Received a variable of shape={self.shape}."
            )
        return self.value.detach()

    def __round__(self, ndigits: int | None = None) -> torch.Tensor:
        return torch.round(self.value, decimals=ndigits or 0)

    def __deepcopy__(self, memo: dict) -> Variable:
        result = type(self).__new__(type(self))
        memo[id(self)] = result
        result.__dict__.update(self.__dict__)
        # Through `memo`: a layer that is copied has the parameter under its own name too.
        result._value = copy.deepcopy(self._value, memo)
        return result

    __add__, __radd__ = _operators("add")
    __sub__, __rsub__ = _operators("subtract")
    __mul__, __rmul__ = _operators("multiply")
    __truediv__, __rtruediv__ = _operators("true_divide")
    __floordiv__, __rfloordiv__ = _operators("floor_divide")
    __mod__, __rmod__ = _operators("mod")
    __pow__, __rpow__ = _operators("power")
    __matmul__, __rmatmul__ = _operators("matmul")
    # On numbers too: `&` of Keras's variables is not of bits.
    __and__, __rand__ = _operators("logical_and")
    __or__, __ror__ = _operators("logical_or")
    __xor__, __rxor__ = _operators("logical_xor")
    __neg__, __pos__, __abs__, __invert__ = map(_torch_operator, ("__neg__", "__pos__", "__abs__", "__invert__"))
    __lt__, __le__, __gt__, __ge__ = map(_torch_operator, ("__lt__", "__le__", "__gt__", "__ge__"))
    __eq__, __ne__ = map(_torch_operator, ("__eq__", "__ne__"))
    __hash__ = object.__hash__  # type: ignore[assignment]


def _with_values(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """`make()`, with values even while shapes are inferred: a layer may be built there."""
    if not state.symbolic:
        return make()
    with ConcreteScope(devices.get_device()):
        return make()


def _one_of(argument: str, value: str | None, allowed: tuple[str, ...]) -> str:
    value = "none" if value is None else value
    if value not in allowed:
        raise ValueError(f"Invalid value for argument `{argument}`. Expected one of {allowed}. Received: {value!r}")
    return value


def _callable_or_none(attribute: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ValueError(
            f"Invalid value for attribute `{attribute}`. Expected a callable (such as a `keras.{attribute}s` object) "
            f"or None. Received: {value!r}"
        )
    return value


def _values(structure: Any) -> Any:
    """`structure` with variables replaced by their values; torch nests arguments at most in lists and tuples."""
    if isinstance(structure, Variable):
        return structure.value
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return type(structure)(_values(item) for item in structure)
    if isinstance(structure, dict):
        return {key: _values(value) for key, value in structure.items()}
    return structure
