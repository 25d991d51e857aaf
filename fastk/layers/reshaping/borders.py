"""What `ZeroPadding` and `Cropping` layers share: pairs of widths, one for each spatial axis."""

from __future__ import annotations

from typing import Any

from fastk import config
from fastk.layers.arguments import SameDtypeLayer, standardize_tuple
from fastk.layers.input_spec import InputSpec

_ORDINALS = ("1st", "2nd", "3rd")


class Borders(SameDtypeLayer):
    """Base of layers that add or remove `(before, after)` entries along spatial axes.

    Attributes:
        rank: the number of spatial axes.
        sign: 1 where entries are added, -1 where they are removed.
        argument: what the constructor calls the widths.
    """

    rank: int
    sign: int
    argument: str

    def __init__(self, widths: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = config.standardize_data_format(data_format)
        self._pairs = _pairs(widths, self.rank, self.argument)
        setattr(self, self.argument, self._pairs[0] if self.rank == 1 else self._pairs)
        self._first_axis = 2 if self.data_format == "channels_first" else 1
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The input's sizes with the widths added or removed."""
        sizes = list(input_shape)
        for axis, pair in enumerate(self._pairs, self._first_axis):
            if sizes[axis] is not None:
                sizes[axis] += self.sign * sum(pair)
        return tuple(sizes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            self.argument: getattr(self, self.argument),
            "data_format": self.data_format,
        }


def _pairs(widths: Any, rank: int, name: str) -> tuple[tuple[int, int], ...]:
    if rank == 1:
        return (_pair(widths, name),)
    if isinstance(widths, int):
        if widths < 0:
            raise ValueError(f"`{name}` cannot be negative. Received: {name}={widths}.")
        return ((widths, widths),) * rank
    if not hasattr(widths, "__len__"):
        raise ValueError(
            f"`{name}` should be either an int, a tuple of {rank} ints (the same before and after along an axis), or "
            f"a tuple of {rank} tuples of 2 ints (before and after along an axis). Received: {name}={widths}."
        )
    if len(widths) != rank:
        number = "two" if rank == 2 else rank
        raise ValueError(f"`{name}` should have {number} elements. Received: {name}={widths}.")
    return tuple(_pair(width, f"{_ORDINALS[i]} entry of {name}") for i, width in enumerate(widths))


def _pair(width: Any, name: str) -> tuple[int, int]:
    return standardize_tuple(width, 2, name, allow_zero=True)  # type: ignore[return-value]
