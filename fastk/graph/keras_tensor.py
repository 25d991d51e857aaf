"""`KerasTensor`: a shape and a dtype that stand for a tensor while a model is being defined."""

from __future__ import annotations

from typing import Any

from fastk import dtypes, serialization, tree
from fastk.naming import auto_name
from fastk.variable import standardize_shape


def _ops() -> Any:
    """`fastk.ops`, which is built on this module."""
    import fastk.ops

    return fastk.ops


def _operator(function: str, reverse: bool = False) -> Any:
    def apply(self: KerasTensor, *operands: Any) -> KerasTensor:
        arguments = (*operands, self) if reverse else (self, *operands)
        return getattr(_ops(), function)(*arguments)

    return apply


def _operators(function: str) -> tuple[Any, Any]:
    """The methods for `x + y` with a symbolic tensor on the left and on the right."""
    return _operator(function), _operator(function, reverse=True)


class KerasTensor:
    """A symbolic tensor: layers and `keras.ops` applied to it give symbolic tensors and record the graph.

    Args:
        shape: sizes, None where a size is not known.
        dtype: the dtype's name.
        sparse, ragged: not supported; must be False.
        record_history: whether operations on it are recorded in a graph.
        name: a name for error messages.

    >>> import fastk
    >>> x = fastk.KerasTensor((None, 4))
    >>> (x * 2.0).shape
    (None, 4)
    """

    _keras_history: Any

    def __init__(
        self,
        shape: Any,
        dtype: Any = "float32",
        sparse: bool = False,
        ragged: bool = False,
        record_history: bool = True,
        name: str | None = None,
    ):
        if sparse and ragged:
            raise ValueError("KerasTensor cannot have `sparse=True` and `ragged=True` at the same time.")
        if sparse or ragged:
            raise ValueError("Sparse and ragged tensors are not supported: pass sparse=False and ragged=False.")
        self._shape = standardize_shape(shape)
        self._dtype = dtypes.standardize_dtype(dtype)
        self.name = name or auto_name(type(self).__name__)
        self.record_history = record_history

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes, None where one is not known."""
        return self._shape

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return self._dtype

    @property
    def sparse(self) -> bool:
        """Always False."""
        return False

    @property
    def ragged(self) -> bool:
        """Always False."""
        return False

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._shape)

    def reshape(self, newshape: Any) -> KerasTensor:
        """`keras.ops.reshape` of this tensor."""
        return _ops().reshape(self, newshape)

    def squeeze(self, axis: Any = None) -> KerasTensor:
        """`keras.ops.squeeze` of this tensor."""
        return _ops().squeeze(self, axis)

    @property
    def T(self) -> KerasTensor:  # noqa: N802 - NumPy's name
        """`keras.ops.transpose` of this tensor."""
        return _ops().transpose(self)

    # NumPy leaves `array + x` to `__radd__`.
    __array_ufunc__ = None

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(_NO_VALUES.format(self, "be converted to a NumPy array"))

    def __jax_array__(self) -> Any:
        raise ValueError(_NO_VALUES.format(self, "be used as input to a JAX function"))

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        raise ValueError(_NO_VALUES.format(self, "be used as input to a TensorFlow function"))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # From a tensor's operator this leads to `__radd__` and its like.
        given = next((x for x in tree.flatten((args, kwargs)) if isinstance(x, KerasTensor)), cls.__name__)
        raise TypeError(_NO_VALUES.format(given, "be passed to a torch function"))

    def __iter__(self) -> Any:
        raise NotImplementedError(
            "Iterating over a symbolic KerasTensor is not supported: its length is not a Python value."
        )

    def __bool__(self) -> bool:
        raise TypeError("A symbolic KerasTensor cannot be used as a boolean: its value is not known yet.")

    def __float__(self) -> float:
        raise TypeError(_NO_VALUES.format(self, "be converted to a float"))

    def __int__(self) -> int:
        raise TypeError(_NO_VALUES.format(self, "be converted to an int"))

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse=False, ragged=False, name={self.name}>"

    def __getitem__(self, key: Any) -> KerasTensor:
        return _ops().get_item(self, key)

    def __round__(self, ndigits: int | None = None) -> KerasTensor:
        return _ops().round(self, decimals=ndigits or 0)

    __add__, __radd__ = _operators("add")
    __sub__, __rsub__ = _operators("subtract")
    __mul__, __rmul__ = _operators("multiply")
    __truediv__, __rtruediv__ = _operators("divide")
    __floordiv__, __rfloordiv__ = _operators("floor_divide")
    __mod__, __rmod__ = _operators("mod")
    __pow__, __rpow__ = _operators("power")
    __matmul__, __rmatmul__ = _operators("matmul")
    __and__, __rand__ = _operators("logical_and")
    __or__, __ror__ = _operators("logical_or")
    __xor__, __rxor__ = _operators("logical_xor")
    __neg__ = _operator("negative")
    __abs__ = _operator("absolute")
    __invert__ = _operator("logical_not")
    __lt__ = _operator("less")
    __le__ = _operator("less_equal")
    __gt__ = _operator("greater")
    __ge__ = _operator("greater_equal")
    __ne__ = _operator("not_equal")
    # `==` and the hash are of the object: symbolic tensors are looked up in lists and sets.
    __hash__ = object.__hash__


_NO_VALUES = (
    "A KerasTensor is symbolic: it's a placeholder for a shape and a dtype. It doesn't have any actual numerical value "
    "and cannot {1}. "
    "Received {0}. Use layers and `keras.ops` on it, or put the computation into the `call()` of a Layer."
)


def is_keras_tensor(x: Any) -> bool:
    """Whether `x` is symbolic."""
    return isinstance(x, KerasTensor)


def any_symbolic_tensors(args: Any = None, kwargs: Any = None) -> bool:
    """Whether a `KerasTensor` is anywhere among the arguments."""
    return any(isinstance(x, KerasTensor) for x in tree.flatten((args or (), kwargs or {})))


def _from_config(config: dict) -> KerasTensor:
    tensor = KerasTensor(config["shape"], dtype=config["dtype"])
    tensor._pre_serialization_keras_history = config["keras_history"]  # type: ignore[attr-defined]
    return tensor


serialization.add_special("__keras_tensor__", _from_config)
