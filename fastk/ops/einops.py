"""`rearrange`: reshape, transpose and reshape again, told by a pattern. Source: Rogozhnikov, "Einops", 2022."""

from __future__ import annotations

import re
from typing import Any

import torch

from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.operation import Operation
from fastk.ops.registration import CLASS_MAKERS, is_symbolic
from fastk.ops.shapes import product, reshape_shape, shape_of
from fastk.tensor import convert_to_tensor

__all__ = ["rearrange"]


def _groups(pattern: str) -> list[list[str]]:
    """The names in each dimension: `"b (h w)"` gives `[["b"], ["h", "w"]]`."""
    return [re.findall(r"\w+", part) for part in re.findall(r"\w+|\([^)]*\)", pattern)]


def _plan(shape: Any, pattern: str, lengths: dict[str, int]) -> tuple[list, list[int], list]:
    """The sizes after taking apart, the order, and the sizes after putting together; None where a size is unknown."""
    sides = re.split(r"\s*->\s*", pattern.strip())
    if len(sides) != 2:
        raise ValueError(f"`pattern` must have the form 'input -> output'. Received: pattern={pattern!r}")
    before, after = map(_groups, sides)
    names, target = [name for group in before for name in group], [name for group in after for name in group]
    if sorted(names) != sorted(target) or len(set(names)) != len(names) or len(before) != len(shape):
        raise ValueError(
            "Both sides of `pattern` must have the same names, each once, and the first as many dimensions as the "
            f"tensor. Received: pattern={pattern!r} for a tensor of shape {tuple(shape)}"
        )
    sizes: dict[str, int | None] = {}
    for group, size in zip(before, shape, strict=True):
        apart = reshape_shape((size,), [lengths.get(name, -1 if len(group) > 1 else size) for name in group])
        sizes |= dict(zip(group, apart, strict=True))
    together = [product([sizes[name] for name in group]) for group in after]
    return [sizes[name] for name in names], [names.index(name) for name in target], together


class Rearrange(Operation):
    """The operation of `keras.ops.rearrange`."""

    _keras_location = ("keras.src.ops.einops", "Rearrange", "Rearrange")

    def call(self, tensor: Any, pattern: str, **axes_lengths: int) -> torch.Tensor:
        """The tensor rearranged."""
        return rearrange(tensor, pattern, **axes_lengths)

    def compute_output_spec(self, tensor: Any, pattern: str, **axes_lengths: int) -> KerasTensor:
        """A KerasTensor like the result."""
        return KerasTensor(_plan(shape_of(tensor), pattern, axes_lengths)[2], dtype=tensor.dtype)


CLASS_MAKERS["Rearrange"] = lambda: Rearrange


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """A tensor with its dimensions reordered, taken apart and put together.

    Args:
        tensor: a tensor.
        pattern: `"input -> output"`, a name for each dimension; names in parentheses share one.
        axes_lengths: sizes of names; of those that share a dimension all but one are needed.

    >>> from fastk import ops
    >>> ops.rearrange(ops.ones((2, 6, 4)), "b (h w) c -> b c h w", h=2).shape
    torch.Size([2, 4, 2, 3])
    """
    if is_symbolic(tensor):
        return Rearrange().symbolic_call(tensor, pattern, **axes_lengths)
    x = convert_to_tensor(tensor)
    apart, order, together = _plan(x.shape, pattern, axes_lengths)
    return x.reshape(apart).permute(order).reshape(together)
