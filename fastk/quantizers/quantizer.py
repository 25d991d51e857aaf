"""Quantizers as objects."""

from __future__ import annotations

from typing import Any

import torch

from fastk.quantizers.functions import abs_max_quantize


class Quantizer:
    """Base of quantizers: called with a tensor, they give what it is written as.

    Args:
        output_dtype: the dtype of the result.
    """

    def __init__(self, output_dtype: str = "int8"):
        self.output_dtype = output_dtype

    def __call__(self, x: Any) -> Any:
        """`x`; subclasses quantize it."""
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; subclasses write it."""
        raise NotImplementedError(f"{self} does not implement get_config()")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Quantizer:
        """A quantizer from `get_config`'s result."""
        return cls(**config)


class AbsMaxQuantizer(Quantizer):
    """`abs_max_quantize` with its arguments.

    Args:
        axis: the axes that share a scale; -1 where neither it nor the call's is given.
        value_range: the least and the largest integer.
        epsilon: added to magnitudes.
        output_dtype: the integers' dtype.

    >>> from fastk import quantizers
    >>> integers, scale = quantizers.AbsMaxQuantizer()([[1.0, -4.0]])
    >>> integers.tolist()
    [[32, -127]]
    """

    def __init__(
        self,
        axis: Any = None,
        value_range: tuple[int, int] = (-127, 127),
        epsilon: float = 1e-7,
        output_dtype: str = "int8",
    ):
        super().__init__(output_dtype)
        if axis is not None:
            axis = (axis,) if isinstance(axis, int) else tuple(axis)
        self.axis = axis
        self.value_range = value_range
        self.epsilon = epsilon
        if output_dtype == "int8" and (value_range[0] < -128 or value_range[1] > 127):
            raise ValueError(
                "Quantizer with output_dtype='int8' requires value_range to be within the interval [-128, 127]. "
                f"Received: value_range={value_range}"
            )

    def __call__(self, x: Any, axis: Any = None, to_numpy: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The integers and the scale; `axis` goes before that of the constructor."""
        axis = self.axis if axis is None else axis
        axis = -1 if axis is None else axis
        return abs_max_quantize(x, axis, self.value_range, self.output_dtype, self.epsilon, to_numpy)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        axis = {} if self.axis is None else {"axis": self.axis}
        return {
            "value_range": self.value_range,
            "epsilon": self.epsilon,
            "output_dtype": self.output_dtype,
            **axis,
        }
