"""The activation functions of `fastk.activations`, as operations."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes
from fastk.activations import functions
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import axes_of, promoted
from fastk.ops.registration import elementwise, operation

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "polar",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh_shrink",
    "threshold",
]


def _along_axis(x: Any, axis: Any = -1) -> KerasTensor:
    axes_of(axis, len(x.shape))
    return KerasTensor(x.shape, dtype=x.dtype)


celu = elementwise("x", module="nn")(functions.celu)
elu = elementwise("x", module="nn")(functions.elu)
glu = operation("x", module="nn")(functions.glu)
hard_shrink = elementwise("x", module="nn")(functions.hard_shrink)
hard_sigmoid = elementwise("x", module="nn")(functions.hard_sigmoid)
hard_silu = elementwise("x", module="nn")(functions.hard_silu)
hard_tanh = elementwise("x", module="nn")(functions.hard_tanh)
leaky_relu = elementwise("x", module="nn")(functions.leaky_relu)
log_sigmoid = elementwise("x", module="nn")(functions.log_sigmoid)
log_softmax = operation("x", spec=_along_axis, module="nn")(functions.log_softmax)
relu6 = elementwise("x", module="nn")(functions.relu6)
selu = elementwise("x", module="nn")(functions.selu)
sigmoid = elementwise("x", module="nn")(functions.sigmoid)
silu = elementwise("x", module="nn")(functions.silu)
soft_shrink = elementwise("x", module="nn")(functions.soft_shrink)
softmax = operation("x", spec=_along_axis, module="nn")(functions.softmax)
softplus = elementwise("x", module="nn")(functions.softplus)
softsign = elementwise("x", module="nn")(functions.softsign)
sparse_plus = elementwise("x", module="nn")(functions.sparse_plus)
sparse_sigmoid = elementwise("x", module="nn")(functions.sparse_sigmoid)
sparsemax = operation("x", spec=_along_axis, module="nn")(functions.sparsemax)
squareplus = elementwise("x", module="nn")(functions.squareplus)
tanh_shrink = elementwise("x", module="nn")(functions.tanh_shrink)
threshold = elementwise("x", module="nn")(functions.threshold)
swish = silu
hard_swish = hard_silu


@elementwise("x")
def relu(x: Any) -> torch.Tensor:
    """`x` where positive, 0 elsewhere."""
    return functions.relu(x)


@elementwise("x")
def gelu(x: Any, approximate: bool = True) -> torch.Tensor:
    """`x` times the probability that a standard normal variable is below `x`.

    Args:
        x: a tensor.
        approximate: whether the probability is approximated through tanh. True here, False in `activations.gelu`.
    """
    return functions.gelu(x, approximate=approximate)


def _polar_spec(abs_: Any, angle: Any) -> KerasTensor:
    wide = dtypes.standardize_dtype(abs_.dtype) == "float64"
    return KerasTensor(abs_.shape, dtype="complex128" if wide else "complex64")


@operation("abs_ angle", spec=_polar_spec)
def polar(abs_: Any, angle: Any) -> torch.Tensor:
    """The complex numbers of given absolute values and angles in radians."""
    abs_, angle = promoted(abs_, angle, at_least=float)
    return torch.polar(abs_, angle)
