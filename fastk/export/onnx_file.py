"""Models as ONNX files, through torch's exporter.

Inputs and outputs have the names that they have in the model, and the batch may be of any size.
"""

from __future__ import annotations

import itertools
import logging
import re
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from fastk import tree
from fastk.atomic import replacing
from fastk.export.program import program_of

MAX_SIZE = 2**31 - 2**20
"""The most bytes of weights in one file: protobuf, the format below ONNX, ends at 2 GiB."""


def save_onnx(model: Any, path: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Writes an ONNX file; returns how it is run.

    Args:
        model: a built model.
        path: of the file.
        arguments: of the call: structures of what has a shape and a dtype.
        options: further arguments of `torch.onnx.export`.
    """
    translations = _translations()
    _check_size(model)
    program = program_of(model, arguments, {})
    inputs = _names(program.call_spec.in_spec, "input", _input_names(arguments), taken=())
    given = {
        "input_names": inputs,
        "output_names": _names(program.call_spec.out_spec, "output", _output_names(model), taken=inputs),
        "custom_translation_table": translations,
        "verbose": False,
        **options,
    }
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it warns of packages that no model of fastk needs
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\.|onnxscript|copyreg")
            exported: Any = torch.onnx.export(program, dynamo=True, **given)
    finally:
        exporter.setLevel(level)
    written = exported.model_proto
    _name_batch(written.graph)
    with replacing(path) as file:
        file.write(written.SerializeToString())
    return f"Run it with onnxruntime.InferenceSession({path!r})."


def _check_size(model: Any) -> None:
    size = sum(v.value.numel() * v.value.element_size() for v in model.weights)
    if size >= MAX_SIZE:
        raise ValueError(
            f"The weights of model '{model.name}' take {size} bytes, and an ONNX file holds at most {MAX_SIZE}. Write "
            'a torch program instead: model.export("model.pt2", format="torch").'
        )


def _input_names(arguments: tuple[Any, ...]) -> list[str]:
    """The names of what was passed for the inputs, where all have one."""
    names = [getattr(x, "name", None) for x in tree.flatten(arguments)]
    return [name for name in names if name] if len(set(names)) == len(names) else []


def _output_names(model: Any) -> list[str]:
    """The names of the layers that the outputs come from, where the model has a graph."""
    return [x._keras_history.operation.name for x in getattr(model, "outputs", None) or ()]


def _names(spec: Any, kind: str, names: list[str], taken: Iterable[str]) -> list[str]:
    """The names of a program's inputs or outputs, in its order.

    Args:
        spec: their structure: of a dict the keys are the names.
        kind: what a nameless one is called, before its number.
        names: those of the model, in its order, which is that of the program where there is no dict.
        taken: names that are others'; a name that is taken, or comes twice, is numbered.
    """
    structure = spec.unflatten(range(spec.num_leaves))
    if kind == "input":
        structure = structure[0]  # the positional arguments
        structure = structure[0] if len(structure) == 1 else structure
    found = names if len(names) == spec.num_leaves else [f"{kind}_{i}" for i in range(spec.num_leaves)]
    if isinstance(structure, dict) and all(isinstance(i, int) for i in structure.values()):
        found = [name for name, _ in sorted(structure.items(), key=lambda item: item[1])]
    unique: list[str] = []
    for name in found:
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        unique.append(next(n for n in itertools.chain([name], numbered) if n not in taken and n not in unique))
    return unique


def _name_batch(graph: Any) -> None:
    """Calls the size of the batch "batch" in all shapes of the file, where torch has numbered it."""
    shapes = [value.type.tensor_type.shape for value in (*graph.input, *graph.output, *graph.value_info)]
    first = next((shape.dim[0].dim_param for shape in shapes if shape.dim and shape.dim[0].dim_param), None)
    for dimension in (dimension for shape in shapes for dimension in shape.dim):
        if first is not None and dimension.dim_param:
            dimension.dim_param = re.sub(rf"\b{re.escape(first)}\b", "batch", dimension.dim_param)


def _translations() -> dict[Any, Any]:
    """What torch's exporter has no words for.

    Raises:
        ImportError: without the packages of ONNX.
    """
    try:
        import onnx  # noqa: F401 - torch's exporter needs it
        from onnxscript import opset18
    except ImportError as error:
        raise ImportError(
            "Exporting to ONNX needs the packages `onnx` and `onnxscript`: install them with `pip install onnx "
            "onnxscript` (or `pip install fastk[onnx]`)."
        ) from error
    op: Any = opset18

    def stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        # Of equal values TopK gives the first one first.
        length = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
        return op.TopK(values, length, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: stable_sort}
