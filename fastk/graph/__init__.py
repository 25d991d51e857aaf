"""The symbolic side: tensors without values, the operations that made them, and the graphs they form."""

from fastk.graph.function import Function
from fastk.graph.keras_tensor import KerasTensor, any_symbolic_tensors, is_keras_tensor
from fastk.graph.operation import KerasHistory, Node, Operation
from fastk.graph.symbolic import compute_output_spec
from fastk.graph.topology import get_source_inputs

__all__ = [
    "Function",
    "KerasHistory",
    "KerasTensor",
    "Node",
    "Operation",
    "any_symbolic_tensors",
    "compute_output_spec",
    "get_source_inputs",
    "is_keras_tensor",
]
