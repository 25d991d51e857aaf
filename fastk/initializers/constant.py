"""Initializers whose values are given, not drawn."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, serialization
from fastk.initializers.initializer import Initializer
from fastk.random.distributions import concrete_shape
from fastk.tensor import convert_to_tensor, get_device
from fastk.variable import makes_new_tensors


class Constant(Initializer):
    """The same value everywhere.

    Args:
        value: a number, or an array that broadcasts to the weight's shape.

    >>> from fastk import initializers
    >>> initializers.Constant(3.0)((2,))
    tensor([3., 3.])
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """`value` broadcast to `shape`."""
        shape = concrete_shape(shape)
        value = convert_to_tensor(self.value, dtype=dtypes.standardize_dtype(dtype))
        try:
            return value.broadcast_to(shape).clone(memory_format=torch.contiguous_format)
        except RuntimeError:
            raise ValueError(
                f"A constant of shape {tuple(value.shape)} does not broadcast to the shape {shape} of the weight. "
                "Pass a number, or an array of the weight's shape."
            ) from None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"value": serialization.serialize_keras_object(self.value)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constant:
        """An initializer from `get_config`'s result."""
        return cls(serialization.deserialize_keras_object(config["value"]))


class Zeros(Initializer):
    """Zeros.

    >>> from fastk import initializers
    >>> initializers.Zeros()((2,))
    tensor([0., 0.])
    """

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Zeros of the given shape."""
        return torch.zeros(concrete_shape(shape), dtype=dtypes.to_torch_dtype(dtype), device=get_device())


class Ones(Initializer):
    """Ones.

    >>> from fastk import initializers
    >>> initializers.Ones()((2,))
    tensor([1., 1.])
    """

    @makes_new_tensors
    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """Ones of the given shape."""
        return torch.ones(concrete_shape(shape), dtype=dtypes.to_torch_dtype(dtype), device=get_device())


class Identity(Initializer):
    """`gain` on the diagonal, zero elsewhere; for matrices only.

    Args:
        gain: the diagonal's value.

    >>> from fastk import initializers
    >>> initializers.Identity()((2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """The scaled identity of the given shape, which may be rectangular."""
        if len(shape) != 2:
            raise ValueError(
                "Identity matrix initializer can only be used for 2D matrices. "
                f"Received: shape={shape} of rank {len(shape)}."
            )
        torch_dtype = dtypes.to_torch_dtype(dtype)
        return (self.gain * torch.eye(*shape, dtype=torch_dtype, device=get_device())).to(torch_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"gain": self.gain}
