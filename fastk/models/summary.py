"""The table that `model.summary()` prints."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable
from typing import Any

from fastk import dtypes
from fastk.messages import tell
from fastk.tree import map_shape_structure

GAP = 2
"""Spaces between columns."""
WIDEST = 60
"""Columns grow with what is in them up to this many characters; longer text is wrapped."""
# Where columns end, as fractions of the default width: for a stack of layers, and for a graph.
STACK = (65, (0.45, 0.85, 1.0))
GRAPH = (98, (0.33, 0.55, 0.67, 1.0))
# What computing a shape for a layer that was never called on a symbolic tensor may raise: it is the user's code.
_UNKNOWN_SHAPE = (NotImplementedError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: list[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> None:
    """Prints a model's layers, their output shapes, and how many parameters they have.

    Args:
        model: the model; layers that are not built show `?` and no parameters.
        line_length: the table's width in characters; by default 65, or 98 for a graph, and more where names need it.
        positions: where each column ends, as fractions of the width, or in characters.
        print_fn: called once with the whole text, in place of `print`.
        expand_nested: whether the layers of models in the model are shown too.
        show_trainable: whether a column says which layers are trained.
        layer_range: `(first, last)`, names of layers or patterns of `re`: only these and the layers between are shown.

    Raises:
        ValueError: a width too small for the columns, or a range that names no layer.

    >>> import fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(2, name="out")], name="tiny")
    >>> model.summary(line_length=40)
    Model: "tiny"
    ________________________________________
     Layer (type)     Output Shape   Param #
    ========================================
     out (Dense)      (None, 2)      8
    <BLANKLINE>
    ========================================
    Total params: 8 (32.00 Byte)
    Trainable params: 8 (32.00 Byte)
    Non-trainable params: 0 (0.00 Byte)
    ________________________________________
    """
    linear = _is_linear(model)
    titles = ["Layer (type)", "Output Shape", "Param #"]
    if not linear:
        titles.append("Connected to")
    if show_trainable:
        titles.append("Trainable")
    rows: list[list[str]] = []
    for layer in _in_range(_shown(model), layer_range):
        rows += _rows(layer, model, linear, expand_nested, show_trainable)
    widths = _widths(titles, rows, STACK if linear else GRAPH, line_length, positions)
    total = sum(widths)
    lines = [f'Model: "{model.name}"', "_" * total, *_wrapped(titles, widths), "=" * total]
    for row in rows:
        lines += [*_wrapped(row, widths), " " * total]
    lines += ["=" * total, *_totals(model), "_" * total]
    (print_fn or tell)("\n".join(lines))


# ---------------------------------------------------------------- what is shown


def _shown(model: Any) -> list[Any]:
    """Layers, and in a graph its operations too."""
    graph = getattr(model, "_graph", None)
    return list(graph.operations) if graph is not None else list(model.layers)


def _graph_of(model: Any) -> Any:
    """The graph of a functional model, or the one inside of a built `Sequential`; None for a subclass."""
    inner = getattr(model, "_functional", None)
    return getattr(model if inner is None else inner, "_graph", None)


def _is_linear(model: Any) -> bool:
    """Whether each layer is called once, on the output of the one before."""
    graph = getattr(model, "_graph", None)
    if graph is None:
        return True
    consumed = [id(x) for node in graph.nodes for x in node.input_tensors]
    single = len(graph.inputs) == 1 and all(len(node.input_tensors) <= 1 for node in graph.nodes)
    return single and len(set(consumed)) == len(consumed) and len(graph.operations) == len(graph.nodes)


def _in_range(layers: list[Any], layer_range: Any) -> list[Any]:
    if layer_range is None:
        return layers
    if len(layer_range) != 2 or not all(isinstance(name, str) for name in layer_range):
        raise ValueError(
            "`layer_range` must be two names, of the first and the last layer to show. Received: "
            f"layer_range={layer_range!r}"
        )
    first, last = ([i for i, layer in enumerate(layers) if re.match(name, layer.name)] for name in layer_range)
    if not first or not last:
        raise ValueError(
            f"No layer matches one of layer_range={layer_range!r}. The model's layers are "
            f"{[layer.name for layer in layers]}."
        )
    start, end = min(first), max(last)
    if start > end:
        start, end = min(last), max(first)
    return layers[start : end + 1]


def _rows(
    layer: Any, model: Any, linear: bool, expand_nested: bool, show_trainable: bool, level: int = 0
) -> list[list[str]]:
    """The row of a layer, and those of the layers in it."""
    prefix = f"{'   ' * level}└ " if level else ""
    built, weights = getattr(layer, "built", True), getattr(layer, "weights", [])
    cells = [
        f"{prefix}{layer.name} ({type(layer).__name__})",
        _output_shape(layer, model),
        str(_count(weights)) if built else "0 (unbuilt)",
    ]
    if not linear:
        cells.append(_connections(layer, model))
    if show_trainable:
        cells.append(("Y" if layer.trainable else "N") if weights else "-")
    rows = [cells]
    if expand_nested and getattr(layer, "layers", None):
        for inner in layer.layers:
            rows += _rows(inner, layer, linear, expand_nested, show_trainable, level + 1)
    return rows


def _nodes(layer: Any, model: Any) -> list[Any]:
    """The calls of `layer` in the model's graph; without a graph, or outside of it, all its calls."""
    graph = _graph_of(model)
    own = [node for node in layer._inbound_nodes if graph is not None and node in graph.nodes]
    return own or list(layer._inbound_nodes)


def _output_shape(layer: Any, model: Any) -> str:
    nodes = _nodes(layer, model)
    if nodes:
        # A node keeps its outputs flat.
        texts = {", ".join(str(x.shape) for x in node.outputs): len(node.outputs) for node in nodes}
        text, outputs = next(iter(texts.items()))
        if len(texts) > 1:
            return "multiple"
        return f"[{text}]" if outputs > 1 or type(layer).__name__ == "InputLayer" else text
    shapes = getattr(layer, "_build_shapes", None)
    if not shapes:
        return "?"
    try:
        found = layer.compute_output_shape(*shapes.values())
    except _UNKNOWN_SHAPE:
        return "?"
    return str(map_shape_structure(tuple, found))


def _connections(layer: Any, model: Any) -> str:
    sources = []
    for node in _nodes(layer, model):
        for x in node.input_tensors:
            operation, node_index, tensor_index = x._keras_history
            sources.append(f"{operation.name}[{node_index}][{tensor_index}]")
    return str(sources)


# ---------------------------------------------------------------- numbers


def _count(variables: list[Any]) -> int:
    unique = {id(v): v for v in variables}.values()
    return sum(_elements(v.shape) for v in unique)


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _totals(model: Any) -> list[str]:
    optimizer = getattr(model, "optimizer", None)
    parts = {
        "Trainable": model.trainable_weights,
        "Non-trainable": model.non_trainable_weights,
        "Optimizer": optimizer.variables if optimizer is not None and optimizer.built else [],
    }
    lines = [_total("Total", [v for variables in parts.values() for v in variables])]
    return lines + [_total(name, variables) for name, variables in parts.items() if variables or name != "Optimizer"]


def _total(name: str, variables: list[Any]) -> str:
    unique = {id(v): v for v in variables}.values()
    size = sum(_elements(v.shape) * dtypes.to_torch_dtype(v.dtype).itemsize for v in unique)
    return f"{name} params: {_count(variables)} ({readable_size(size)})"


def readable_size(size: float) -> str:
    """A number of bytes in the largest unit that it reaches.

    >>> from fastk.models.summary import readable_size
    >>> readable_size(407080), readable_size(0)
    ('397.54 KB', '0.00 Byte')
    """
    units = ("Byte", "KB", "MB", "GB", "TB")
    power = 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.2f} {units[power]}"


# ---------------------------------------------------------------- the table


def _widths(
    titles: list[str], rows: list[list[str]], default: tuple, line_length: int | None, positions: list[float] | None
) -> list[int]:
    """The columns' widths, with the space to the next one."""
    total, ends = default
    if len(titles) > len(ends):  # with the column "Trainable"
        total, ends = total + 11, [*(end * total / (total + 11) for end in ends), 1.0]
    given = positions is not None or line_length is not None
    if positions is not None:
        if len(positions) != len(titles):
            raise ValueError(
                f"`positions` must have one entry for each of the {len(titles)} columns {titles}. Received: {positions}"
            )
        ends = positions
    total = line_length or total
    edges = [0, *(int(total * end) if ends[-1] <= 1 else int(end) for end in ends)]
    widths = [end - start for start, end in itertools.pairwise(edges)]
    if given:
        if min(widths) < 4:
            raise ValueError(
                f"The columns {titles} need at least 4 characters each, and would get {widths}. Pass a larger "
                "`line_length`, or other `positions`."
            )
        return widths
    for i, cells in enumerate(zip(titles, *rows, strict=True)):
        longest = max(map(len, cells)) + (i == 0) + (GAP if i < len(titles) - 1 else 0)
        widths[i] = max(widths[i], min(longest, WIDEST))
    return widths


def _wrapped(cells: list[str], widths: list[int]) -> list[str]:
    """A row as lines of exactly the table's width."""
    columns = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        indent = " " if i == 0 else ""
        room = max(width - len(indent) - (GAP if i < len(cells) - 1 else 0), 1)
        columns.append([indent + line for line in _lines(cell, room)])
    height = max(map(len, columns))
    return [
        "".join(
            (column[k] if k < len(column) else "").ljust(width) for column, width in zip(columns, widths, strict=True)
        )
        for k in range(height)
    ]


def _lines(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`, broken at spaces where there are any; what it is indented by stays."""
    indent = min(len(text) - len(text.lstrip()), width - 1)
    broken = textwrap.wrap(text.strip(), width - indent, break_on_hyphens=False)
    return [" " * indent + line for line in broken] or [""]
