"""What an op of a graph costs at least: multiplications of its products, bytes that it cannot do without.

Counted as in a perfect implementation: each input, weight and result is read or written once, and the backward pass
reads the gradient of the result, the inputs and the weights, and writes the gradients that are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastk import dtypes
from fastk.graph.nodes import OpNode, Value

# Operations that hand on their input's memory with another shape.
VIEWS = frozenset({"flatten", "reshape", "identity", "expand_dims", "squeeze"})
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "depthwise_conv1d", "depthwise_conv2d"})
RECURRENT = frozenset({"lstm", "gru", "simple_rnn"})


@dataclass(frozen=True)
class Cost:
    """FLOPs of products (a multiplication and an addition are two) and bytes."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


def forward_cost(node: OpNode, batch_size: int, unknown: int) -> Cost | None:
    """The cost of the op for a batch.

    Args:
        node: the op.
        batch_size: what stands for an unknown first size.
        unknown: what stands for any other unknown size.

    Returns:
        None where it cannot be told from shapes: an opaque layer, an op with weights that is not in the table.

    >>> import fastk
    >>> from fastk.graph.cost import forward_cost
    >>> graph = fastk.Sequential([fastk.Input((784,)), fastk.layers.Dense(128)]).graph()
    >>> forward_cost(graph.nodes[0], 32, 1).flops == 2 * 32 * 784 * 128
    True
    """
    flops = _product_flops(node, batch_size, unknown)
    if flops is None:
        return None
    if node.op in VIEWS:
        return Cost(0, 0)
    moved = [*node.inputs, *node.outputs]
    return Cost(flops, sum(_bytes(x, batch_size, unknown) for x in moved) + _weight_bytes(node, batch_size, unknown))


def backward_cost(node: OpNode, batch_size: int, unknown: int, wants_input: bool) -> Cost | None:
    """The cost of the op's gradients.

    Args:
        node, batch_size, unknown: as of `forward_cost`.
        wants_input: whether the gradient by the inputs is asked for: something before the op is trained.
    """
    flops = _product_flops(node, batch_size, unknown)
    if flops is None:
        return None
    trained = [v for v in node.spec.weights.values() if v is not None and v.trainable]
    if node.op in VIEWS or not (wants_input or trained):
        return Cost(0, 0)
    products = wants_input + any(v.ndim > 1 for v in trained)
    inputs = sum(_bytes(x, batch_size, unknown) for x in node.inputs)
    results = sum(_bytes(x, batch_size, unknown) for x in node.outputs)
    weights = _weight_bytes(node, batch_size, unknown)
    written = sum(_variable_bytes(v) for v in trained) + (inputs if wants_input else 0)
    return Cost(products * flops, results + inputs + weights + written)


def _product_flops(node: OpNode, batch_size: int, unknown: int) -> int | None:
    if node.opaque is not None:
        return None
    weights = {name: v for name, v in node.spec.weights.items() if v is not None}
    rows = math.prod(_sizes(node.output, batch_size, unknown)[:-1])
    if node.op == "dense":
        return 2 * rows * math.prod(weights["kernel"].shape)
    if node.op in CONVOLUTIONS and "kernel" in weights:
        sizes = _sizes(node.output, batch_size, unknown)
        first = node.spec.shown.get("channels", -1) == 1
        places = math.prod(sizes) // sizes[1 if first else -1]
        return 2 * places * math.prod(weights["kernel"].shape)
    if node.op in RECURRENT:
        samples, steps, *_ = _sizes(node.inputs[0], batch_size, unknown)
        return 2 * samples * steps * sum(math.prod(v.shape) for name, v in weights.items() if "kernel" in name)
    if node.op == "matmul":
        return 2 * math.prod(_sizes(node.output, batch_size, unknown)) * _sizes(node.inputs[0], batch_size, unknown)[-1]
    matrices = [v for v in weights.values() if v.ndim > 1]
    return None if matrices and node.op != "embedding" else 0


def _weight_bytes(node: OpNode, batch_size: int, unknown: int) -> int:
    if node.op == "embedding":  # only the rows that are looked up, which are as many as come out
        return _bytes(node.output, batch_size, unknown)
    return sum(_variable_bytes(v) for v in node.spec.weights.values() if v is not None)


def _variable_bytes(variable: Any) -> int:
    return math.prod(variable.shape) * dtypes.to_torch_dtype(variable.dtype).itemsize


def _bytes(value: Value, batch_size: int, unknown: int) -> int:
    return math.prod(_sizes(value, batch_size, unknown)) * dtypes.to_torch_dtype(value.dtype).itemsize


def _sizes(value: Value, batch_size: int, unknown: int) -> list[int]:
    return [(unknown if i else batch_size) if size is None else size for i, size in enumerate(value.shape)]
