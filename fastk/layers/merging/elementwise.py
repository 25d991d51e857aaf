"""`Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum`: elementwise, with broadcasting."""

from __future__ import annotations

import functools
from typing import Any

import torch

from fastk.layers.merging.base import Merge
from fastk.tensor import get_keras_mask, set_keras_mask


class Add(Merge):
    """The sum of its inputs.

    >>> import fastk
    >>> print(fastk.layers.Add()([fastk.ops.ones((1, 2)), fastk.ops.ones((1, 2))]))
    [[2. 2.]]
    """

    def _merge(self, inputs: Any) -> Any:
        return functools.reduce(torch.add, inputs)


class Subtract(Merge):
    """The first of two inputs minus the second.

    >>> import fastk
    >>> print(fastk.layers.Subtract()([fastk.ops.ones((1, 2)), fastk.ops.ones((1, 2))]))
    [[0. 0.]]
    """

    def build(self, input_shape: Any) -> None:
        """Checks that there are two shapes, and that they can be merged."""
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError(
                f"A `Subtract` layer should be called on exactly 2 inputs. Received: input_shape={input_shape}"
            )

    def _merge(self, inputs: Any) -> Any:
        if len(inputs) != 2:
            raise ValueError(f"A `Subtract` layer should be called on exactly 2 inputs. Received: inputs={inputs}")
        return torch.sub(inputs[0], inputs[1])


class Multiply(Merge):
    """The product of its inputs; a masked entry counts as 1, and gives 0 where it is masked in all of them.

    >>> import fastk
    >>> print(fastk.layers.Multiply()([fastk.ops.ones((1, 2)), fastk.ops.ones((1, 2)) * 3.0]))
    [[3. 3.]]
    """

    def _merge(self, inputs: Any) -> Any:
        masks = [get_keras_mask(x) for x in inputs]
        if all(mask is None for mask in masks):
            return functools.reduce(torch.mul, inputs)
        wide = [None if m is None else m.unsqueeze(-1).expand(x.shape) for x, m in zip(inputs, masks, strict=True)]
        ones = [x if m is None else torch.where(m, x, 1) for x, m in zip(inputs, wide, strict=True)]
        output = functools.reduce(torch.mul, ones)
        known = [m for m in wide if m is not None]
        if len(known) == len(inputs):
            mask = functools.reduce(torch.logical_or, known)
            output = torch.where(mask, output, 0)
            set_keras_mask(output, mask.any(-1))
        return output


class Average(Merge):
    """The mean of its inputs.

    >>> import fastk
    >>> print(fastk.layers.Average()([fastk.ops.ones((1, 2)), fastk.ops.zeros((1, 2))]))
    [[0.5 0.5]]
    """

    def _merge(self, inputs: Any) -> Any:
        return functools.reduce(torch.add, inputs) / len(inputs)


class Maximum(Merge):
    """The elementwise maximum of its inputs.

    >>> import fastk
    >>> print(fastk.layers.Maximum()([fastk.ops.ones((1, 2)), fastk.ops.zeros((1, 2))]))
    [[1. 1.]]
    """

    def _merge(self, inputs: Any) -> Any:
        return self._merge_where_unmasked(torch.maximum, inputs)


class Minimum(Merge):
    """The elementwise minimum of its inputs.

    >>> import fastk
    >>> print(fastk.layers.Minimum()([fastk.ops.ones((1, 2)), fastk.ops.zeros((1, 2))]))
    [[0. 0.]]
    """

    def _merge(self, inputs: Any) -> Any:
        return self._merge_where_unmasked(torch.minimum, inputs)


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract(**kwargs)(inputs)`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply(**kwargs)(inputs)`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average(**kwargs)(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum(**kwargs)(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum(**kwargs)(inputs)`."""
    return Minimum(**kwargs)(inputs)
