"""`InputLayer` and `Input`: where a model's data comes in."""

from __future__ import annotations

import warnings
from typing import Any

from fastk import dtypes
from fastk.graph import KerasTensor, Node
from fastk.layers.layer import Layer
from fastk.variable import standardize_shape


class InputLayer(Layer):
    """The entry point of a model: it hands on what it is given.

    Args:
        shape: sizes without the batch, None for any.
        batch_size: the batch's size, None for any.
        dtype: the dtype's name.
        sparse, ragged: not supported; must not be True.
        batch_shape: `shape` with the batch, in place of both.
        input_tensor: a KerasTensor to use as the input.
        optional: whether None may be passed for it.
        name: the layer's name.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: KerasTensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name)
        if "input_shape" in kwargs:
            warnings.warn("Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=2)
            shape = kwargs.pop("input_shape")
        if "batch_input_shape" in kwargs:
            batch_shape = kwargs.pop("batch_input_shape")
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to InputLayer: {kwargs}")
        if input_tensor is not None:
            _check_input_tensor(input_tensor, shape, batch_size, batch_shape, dtype, sparse)
            dtype, batch_shape = input_tensor.dtype, input_tensor.shape
        elif shape is not None and batch_shape is not None:
            raise ValueError("You cannot pass both `shape` and `batch_shape` at the same time.")
        elif batch_size is not None and batch_shape is not None:
            raise ValueError("You cannot pass both `batch_size` and `batch_shape` at the same time.")
        elif shape is None and batch_shape is None:
            raise ValueError("You must pass a `shape` argument. It holds the sizes of one sample, such as (28, 28, 1).")
        for argument, given in (("sparse", sparse), ("ragged", ragged)):
            if given:
                raise ValueError(
                    f"`{argument}=True` is not supported: feed dense tensors, with a mask where it is needed."
                )
        if batch_shape is None:
            batch_shape = (batch_size, *standardize_shape(shape))
        self.sparse = self.ragged = False
        self._batch_shape = standardize_shape(batch_shape)
        self._input_dtype = dtypes.standardize_dtype(dtype)
        self.optional = optional
        self.built = True
        tensor = input_tensor
        if tensor is None:
            tensor = KerasTensor(self._batch_shape, dtype=self._input_dtype, name=self.name)
        Node(self, (), {}, tensor)

    def call(self) -> None:
        """Nothing: the model puts its input in this layer's place."""

    @property
    def batch_shape(self) -> tuple[int | None, ...]:
        """The input's shape, with the batch."""
        return self._batch_shape

    @property
    def dtype(self) -> str:
        """The input's dtype."""
        return self._input_dtype

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }


def _check_input_tensor(
    tensor: Any, shape: Any, batch_size: int | None, batch_shape: Any, dtype: Any, sparse: bool | None
) -> None:
    """Raises `ValueError` for arguments that contradict the given tensor."""
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            "Argument `input_tensor` must be a KerasTensor. Received invalid type: "
            f"input_tensor={tensor} (of type {type(tensor)})"
        )
    contradictions = {
        "shape": shape is not None and tuple(shape) != tensor.shape[1:],
        "batch_size": batch_size is not None and tensor.shape[:1] != (batch_size,),
        "batch_shape": batch_shape is not None and tuple(batch_shape) != tensor.shape,
        "dtype": dtype is not None and dtype != tensor.dtype,
        "sparse": bool(sparse),
    }
    for name, contradicts in contradictions.items():
        if contradicts:
            raise ValueError(
                f"When providing the `input_tensor` argument, you cannot provide an incompatible `{name}` argument. "
                f"Received: input_tensor={tensor}"
            )


def Input(  # noqa: N802 - Keras's name
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: KerasTensor | None = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic tensor that stands for a model's input.

    Args:
        shape: sizes without the batch, None for any.
        batch_size: the batch's size, None for any.
        dtype: the dtype's name.
        sparse, ragged: not supported; must not be True.
        batch_shape: `shape` with the batch, in place of both.
        name: the input's name.
        tensor: a KerasTensor to use as the input.
        optional: whether None may be passed for it.

    >>> import fastk
    >>> fastk.Input(shape=(32,)).shape
    (None, 32)
    """
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        name=name,
        input_tensor=tensor,
        optional=optional,
    )
    return layer.output
