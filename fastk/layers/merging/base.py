"""`Merge`: the base of layers that combine several tensors into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import ops
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.tensor import get_keras_mask, set_keras_mask


class Merge(Layer):
    """Base of merging layers: inputs of different ranks get axes of size 1 after the batch, then broadcast.

    Subclasses write `_merge`, a function of tensors of one rank.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._makes_masks = False  # but of the inputs' masks
        self._reshape_required = False

    def _merge(self, inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `_merge(inputs)`.")

    def build(self, input_shape: Any) -> None:
        """Checks that the shapes can be merged."""
        if not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                f"A merge layer should be called on a list of inputs. Received: input_shape={input_shape} (not a "
                "list of shapes)"
            )
        batch_sizes = {shape[0] for shape in input_shape if shape} - {None}
        if len(batch_sizes) > 1:
            raise ValueError(
                f"Cannot merge tensors with different batch sizes. Received tensors with shapes {input_shape}"
            )
        _broadcast([tuple(shape[1:]) for shape in input_shape])
        self._reshape_required = len({len(shape) for shape in input_shape}) > 1

    def call(self, inputs: Any) -> Any:
        """The merged tensor."""
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"A merge layer should be called on a list of inputs. Received: inputs={inputs} (not a list of tensors)"
            )
        if self._reshape_required:
            rank = max(x.ndim for x in inputs)
            inputs = [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        return self._merge(inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The shape that the inputs broadcast to."""
        batch_sizes = {shape[0] for shape in input_shape if shape is not None} - {None}
        batch = batch_sizes.pop() if len(batch_sizes) == 1 else None
        return (batch, *_broadcast([tuple(shape[1:]) for shape in input_shape]))

    def compute_output_spec(self, inputs: Any) -> Any:
        """A KerasTensor like the output."""
        return KerasTensor(self.compute_output_shape([x.shape for x in inputs]), dtype=self.compute_dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where any input counts; None where an input has no mask."""
        if mask is None:
            return None
        check_masks(inputs, mask)
        if any(m is None for m in mask):
            return None
        output = mask[0]
        for m in mask[1:]:
            output = ops.logical_or(output, m)
        return output

    def _merge_where_unmasked(self, function: Callable, inputs: Any) -> Any:
        """`function` over the inputs; a masked entry leaves the other input's value as it is."""
        output, output_mask = None, None
        for x in inputs:
            mask = get_keras_mask(x)
            mask = None if mask is None else mask.unsqueeze(-1).expand(x.shape)
            if output is None:
                output, output_mask = x, mask
                continue
            if mask is not None:
                x = torch.where(mask, x, output)
            if output_mask is not None:
                output = torch.where(output_mask, output, x)
            output_mask = torch.logical_or(output_mask, mask) if mask is not None and output_mask is not None else None
            output = function(output, x)
        if output_mask is not None:
            set_keras_mask(output, output_mask.any(-1))
        return output


def check_masks(inputs: Any, mask: Any) -> None:
    """Raises `ValueError` unless both are lists of one length."""
    for name, value in (("mask", mask), ("inputs", inputs)):
        if not isinstance(value, (tuple, list)):
            raise ValueError(f"`{name}` should be a list. Received: {name}={value}")
    if len(mask) != len(inputs):
        raise ValueError(
            f"The lists `inputs` and `mask` should have the same length. Received: inputs={inputs} of length "
            f"{len(inputs)}, and mask={mask} of length {len(mask)}"
        )


def _broadcast(shapes: list[tuple]) -> tuple:
    """The shape, without the batch, that `shapes` broadcast to; an unknown size makes an unknown size."""
    result = shapes[0]
    for shape in shapes[1:]:
        longer, shorter = (result, shape) if len(result) >= len(shape) else (shape, result)
        sizes = list(longer)
        for i, size in enumerate(shorter, len(longer) - len(shorter)):
            if sizes[i] is None or size is None:
                sizes[i] = None
            elif sizes[i] == 1:
                sizes[i] = size
            elif size not in (1, sizes[i]):
                raise ValueError(f"Inputs have incompatible shapes. Received shapes {longer} and {shorter}")
        result = tuple(sizes)
    return result
