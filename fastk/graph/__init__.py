"""The symbolic side: tensors without values, the operations that made them, and the graphs they form."""

from fastk.graph.function import Function
from fastk.graph.keras_tensor import KerasTensor, any_symbolic_tensors, is_keras_tensor
from fastk.graph.nodes import Graph, OpNode, OpSpec, Value
from fastk.graph.operation import KerasHistory, Node, Operation
from fastk.graph.symbolic import compute_output_spec
from fastk.graph.topology import get_source_inputs
from fastk.graph.trace import Untraceable, trace

__all__ = [
    "Function",
    "Graph",
    "KerasHistory",
    "KerasTensor",
    "Node",
    "OpNode",
    "OpSpec",
    "Operation",
    "Untraceable",
    "Value",
    "any_symbolic_tensors",
    "compute_output_spec",
    "get_source_inputs",
    "is_keras_tensor",
    "trace",
]
