"""`EinsumDense`: a dense layer whose product is written as an einsum."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch

from fastk import activations, autograd, regularizers
from fastk.initializers import VarianceScaling
from fastk.layers.arguments import require_none
from fastk.layers.layer import Layer
from fastk.layers.lora import LowRankAdaptation


class EinsumDense(LowRankAdaptation, Layer):
    """`activation(einsum(equation, inputs, kernel) + bias)`.

    Args:
        equation: `"abc,cd->abd"`: the letters of the inputs, the kernel and the output; `...` stands for axes that are
            in the inputs and the output alone.
        output_shape: sizes of the output without the batch (without the axes of `...`), None where the input's hold.
        activation: a name or function; None is linear.
        bias_axes: the output's letters that the bias has; None for no bias.
        kernel_initializer, bias_initializer: first values.
        kernel_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, bias_constraint: projections after each step.
        lora_rank: the rank of a trained correction of the frozen kernel; see `enable_lora`.
        lora_alpha: the correction's scale, by default `lora_rank`.
        gptq_unpacked_column_size, quantization_config: not supported; must be None.

    >>> import fastk
    >>> layer = fastk.layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d")
    >>> layer(fastk.ops.ones((2, 3, 4))).shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        gptq_unpacked_column_size: None = None,
        quantization_config: None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_none(gptq_unpacked_column_size=gptq_unpacked_column_size, quantization_config=quantization_config)
        self._set_lora(lora_rank, lora_alpha)
        self.equation = equation
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self._set_weight_options(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias of the sizes that the equation gives them."""
        kernel_shape, bias_shape, self.full_output_shape = analyze_equation(
            self.equation, self.bias_axes, input_shape, self.partial_output_shape
        )
        self.kernel = self._add_weight_with_options("kernel", kernel_shape, initializer=self._scaled_initializer())
        self.bias = None if bias_shape is None else self._add_weight_with_options("bias", bias_shape)
        self._build_lora()
        self._is_dense = _is_dense(self.equation) and (bias_shape is None or len(bias_shape) == 1)

    def _scaled_initializer(self) -> Any:
        """The kernel's initializer; one that scales by the numbers of units is told which axes count them."""
        initializer = self.kernel_initializer
        if not isinstance(initializer, VarianceScaling):
            return initializer
        if initializer.input_axes is not None and initializer.output_axes is not None:
            return initializer
        scaled = copy.copy(initializer)
        scaled.input_axes, scaled.output_axes = unit_axes(self.equation)
        return scaled

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The layer's output for `inputs`."""
        kernel = self._adapted()
        bias = None if self.bias is None else self.bias.value
        if self._is_dense:
            fused = activations.fused_name(self.activation)
            outputs = autograd.dense(inputs, kernel, bias, activation=fused)
            return outputs if fused is not None else self.activation(outputs)
        outputs = torch.einsum(self.equation, inputs, kernel)
        return self.activation(outputs if bias is None else outputs + bias)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The output's sizes."""
        return analyze_equation(self.equation, self.bias_axes, input_shape, self.partial_output_shape)[2]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "output_shape": self.partial_output_shape,
            "equation": self.equation,
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
            **self._weight_options_config(),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "quantization_config": None,
            **self._lora_config(),
        }


def _is_dense(equation: str) -> bool:
    """Whether the product is that of a matrix with the last axis."""
    found = re.fullmatch(r"([a-zA-Z]+|\.\.\.)([a-zA-Z]),([a-zA-Z])([a-zA-Z])->\1([a-zA-Z])", equation.replace(" ", ""))
    if found is None:
        return False
    kept, last, row, column, out = found.groups()
    return last == row and column == out and last not in kept and column not in kept and column != last


def unit_axes(equation: str) -> tuple[list[int], list[int]]:
    """The axes of the kernel that count the inputs of a sum, and those that count its outputs.

    >>> unit_axes("abc,cde->abde")
    ([0], [1, 2])
    """
    kernel, outputs = equation.replace(" ", "").partition(",")[2].split("->")
    axes: tuple[list[int], list[int]] = [], []
    for axis, letter in enumerate(kernel):
        axes[letter in outputs].append(axis)
    return axes


def analyze_equation(equation: str, bias_axes: str | None, input_shape: Any, output_shape: tuple) -> tuple:
    """The shapes of the kernel, the bias (None without one) and the output.

    Raises:
        ValueError: an equation that is none, or sizes that contradict it.

    >>> from fastk.layers.core.einsum_dense import analyze_equation
    >>> analyze_equation("...b,bc->...c", "c", (None, 5, 3), (4,))
    ((3, 4), (4,), (None, 5, 4))
    """
    found = re.fullmatch(
        r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", equation.replace(" ", "")
    )
    if found is None or found[1] != found[5] or found[3] != found[7] or (found[1] and found[3]):
        raise ValueError(
            f"Invalid einsum equation '{equation}'. Equations must be in the form [X],[Y]->[Z], ...[X],[Y]->...[Z], or "
            "[X]...,[Y]->[Z]...."
        )
    inputs, kernel, outputs = found[2], found[4], found[6]
    shape = tuple(input_shape)
    elided_count = len(shape) - len(inputs)
    if elided_count < 0:
        raise ValueError(
            f"The equation '{equation}' does not fit inputs of rank {len(shape)}. Received: input_shape={shape}"
        )
    if found[1]:
        elided, named = shape[:elided_count], shape[elided_count:]
    else:
        elided, named = shape[len(inputs) :], shape[: len(inputs)]
    sizes = dict(zip(inputs, named, strict=True))
    # Where the ellipsis comes first the batch is in it; otherwise the first letter is the batch.
    given = dict(zip(outputs if found[1] else outputs[1:], output_shape, strict=False))
    full = []
    for letter in outputs:
        asked, known = given.get(letter), sizes.get(letter)
        if letter in given and asked is not None and known is not None and asked != known:
            raise ValueError(
                "Input shape and output shape do not match at shared dimension "
                f"'{letter}'. Input shape is {known}, and output shape is {asked}."
            )
        full.append(known if asked is None else asked)
    output_sizes = dict(zip(outputs, full, strict=True))
    for letter in outputs:
        if letter not in inputs and letter not in kernel:
            raise ValueError(
                f"Dimension '{letter}' was specified in the output '{outputs}' but has no corresponding dim in the "
                f"input spec '{inputs}' or weight spec '{kernel}'"
            )
    kernel_shape = []
    for letter in kernel:
        if letter not in sizes and letter not in output_sizes:
            raise ValueError(
                f"Weight dimension '{letter}' did not have a match in either the input spec '{inputs}' or the output "
                f"spec '{outputs}'. For this layer, the weight must be fully specified."
            )
        kernel_shape.append(sizes[letter] if letter in sizes else output_sizes[letter])
    full_output = (*elided, *full) if found[1] else (*full, *elided)
    return (
        tuple(kernel_shape),
        _bias_shape(bias_axes, outputs, output_sizes, 0 if found[1] else len(elided)),
        full_output,
    )


def _bias_shape(bias_axes: str | None, outputs: str, sizes: dict, trailing: int) -> tuple | None:
    if not bias_axes:
        return None
    for letter in bias_axes:
        if letter not in outputs:
            raise ValueError(f"Bias dimension '{letter}' was requested, but is not part of the output spec '{outputs}'")
    first = min(outputs.index(letter) for letter in bias_axes)
    return (*(sizes[letter] if letter in bias_axes else 1 for letter in outputs[first:]), *(1,) * trailing)
