"""Drawings of a model's graph, through pydot and Graphviz."""

from __future__ import annotations

import html
import itertools
import os
from typing import Any

from fastk import tree
from fastk.models.functional import Functional
from fastk.models.sequential import Sequential

_CELL = '<td bgcolor="{color}"><font point-size="14"{ink}>{text}</font></td>'


def plot_model(
    model: Any,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """Draws a model's graph into a file.

    Args:
        model: a built model.
        to_file: the file; its ending says the format, such as `.png`, `.svg` or `.pdf`.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what the boxes say.
        rankdir: the direction: "TB" downwards, "LR" to the right.
        expand_nested: whether models in the model are drawn as frames around their layers.
        dpi: resolution, in dots per inch.
        splines: how lines are drawn: "ortho", "curved", "polyline", "spline" or "line".

    Returns:
        In Jupyter an image to show; else None.

    Raises:
        ImportError: where pydot or Graphviz is missing.
        ValueError: an unbuilt model.
    """
    dot = model_to_dot(
        model,
        show_shapes=show_shapes,
        show_dtype=show_dtype,
        show_layer_names=show_layer_names,
        rankdir=rankdir,
        expand_nested=expand_nested,
        dpi=dpi,
        show_layer_activations=show_layer_activations,
        show_trainable=show_trainable,
        splines=splines,
        **kwargs,
    )
    path = os.fsdecode(to_file)
    kind = os.path.splitext(path)[1].removeprefix(".") or "png"
    try:
        dot.write(path, format=kind)
    except FileNotFoundError as error:
        if os.path.isdir(os.path.dirname(path) or "."):
            raise ImportError(
                "`plot_model` needs the program `dot` of Graphviz: install it (for example `apt install graphviz`, or "
                "see https://graphviz.org/download/)."
            ) from error
        raise
    if kind == "pdf":
        return None
    try:
        from IPython import display  # pyright: ignore[reportMissingImports] - there in notebooks alone
    except ImportError:
        return None
    return display.Image(filename=path)


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """A model's graph in the language of Graphviz.

    Args:
        model to dpi: as for `plot_model`.
        subgraph: a `pydot.Cluster`, to be put into another graph, instead of a `pydot.Dot`.
        show_layer_activations, show_trainable, splines: as for `plot_model`.

    Returns:
        A `pydot.Dot`, or `pydot.Cluster`.

    Raises:
        ImportError: where pydot is missing.
        ValueError: an unbuilt model.
    """
    if kwargs.pop("layer_range", None) is not None:
        raise ValueError("Argument `layer_range` is no longer supported: plot a model of those layers.")
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    if not model.built:
        raise ValueError(
            "This model has not yet been built. Build it first, by calling it on a batch of data, or "
            "`model.build(input_shape)`."
        )
    pydot = _pydot()
    if subgraph:
        dot = pydot.Cluster(style="dashed", graph_name=model.name, label=model.name, labeljust="l")
    else:
        dot = pydot.Dot(rankdir=rankdir, concentrate=True, dpi=dpi, splines=splines)
        dot.set_node_defaults(shape="record")
    _Drawing(
        pydot, show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable, expand_nested
    ).draw(model, dot)  # fmt: skip
    return dot


def _pydot() -> Any:
    try:
        import pydot
    except ImportError as error:
        raise ImportError(
            "Drawing a model needs pydot: install it with `pip install pydot` (or `pip install fastk[plot]`), and "
            "Graphviz with your system's packages."
        ) from error
    return pydot


class _Drawing:
    """What boxes say, and how a model becomes boxes and arrows."""

    def __init__(
        self, pydot: Any, shapes: bool, dtype: bool, names: bool, activations: bool, trainable: bool, expand: bool
    ):
        self.pydot = pydot
        self.shapes, self.dtype, self.names = shapes, dtype, names
        self.activations, self.trainable, self.expand = activations, trainable, expand

    def draw(self, model: Any, dot: Any) -> None:
        """Puts the boxes and the arrows of `model` into `dot`."""
        if not isinstance(model, (Sequential, Functional)):
            dot.add_node(self._box(model))  # how a subclass calls its layers is its own affair
            return
        stack = isinstance(model, Sequential)
        shown = list(model.layers) if stack else list(model.operations)
        for layer in shown:
            if self.expand and _is_graph(layer):
                cluster = self.pydot.Cluster(style="dashed", graph_name=layer.name, label=layer.name, labeljust="l")
                self.draw(layer, cluster)
                dot.add_subgraph(cluster)
            else:
                dot.add_node(self._box(layer))
        if stack:
            for source, target in itertools.pairwise(shown):
                self._connect(dot, source, 0, target, 0)
            return
        for node in model._graph.nodes_to_run:
            for index, x in enumerate(node.input_tensors):
                source, _, tensor_index = x._keras_history
                self._connect(dot, source, tensor_index, node.operation, index)

    def _connect(self, dot: Any, source: Any, tensor_index: int, target: Any, index: int) -> None:
        """An arrow from an output of `source` to an input of `target`; between layers, where models are frames."""
        while self.expand and _is_graph(source):
            source, _, tensor_index = source.outputs[tensor_index]._keras_history
        while self.expand and _is_graph(target):
            target = (
                target.inputs[index]._keras_history.operation if isinstance(target, Functional) else target.layers[0]
            )
            index = 0
        ends = str(id(source)), str(id(target))
        if not dot.get_edge(*ends):
            dot.add_edge(self.pydot.Edge(*ends, penwidth="2"))

    def _box(self, layer: Any) -> Any:
        return self.pydot.Node(str(id(layer)), label=self._label(layer), fontname="Helvetica", border="0", margin="0")

    def _label(self, layer: Any) -> str:
        cells = self._cells(layer)
        width = max(len(cells), 1)
        kind = html.escape(type(layer).__name__)
        title = f"<b>{html.escape(layer.name)}</b> ({kind})" if self.names else f"<b>{kind}</b>"
        rows = [f'<td colspan="{width}" bgcolor="black"><font point-size="16" color="white">{title}</font></td>']
        activation = getattr(layer, "activation", None)
        if self.activations and activation is not None:
            name = getattr(activation, "name", None) or getattr(activation, "__name__", None) or str(activation)
            text = f"Activation: <b>{html.escape(name)}</b>"
            rows.append(f'<td bgcolor="white" colspan="{width}"><font point-size="14">{text}</font></td>')
        if cells:
            rows.append("".join(cells))
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        return f'<<table border="0" cellborder="1" bgcolor="black" cellpadding="10">{table}</table>>'

    def _cells(self, layer: Any) -> list[str]:
        def cell(text: str, color: str = "white", ink: str = "") -> str:
            return _CELL.format(color=color, ink=ink, text=text)

        cells = []
        if self.shapes:
            if type(layer).__name__ != "InputLayer":
                cells.append(cell(f"Input shape: <b>{_described(layer, 'input', 'shape')}</b>"))
            cells.append(cell(f"Output shape: <b>{_described(layer, 'output', 'shape')}</b>"))
        if self.dtype:
            cells.append(cell(f"Output dtype: <b>{_described(layer, 'output', 'dtype')}</b>"))
        if self.trainable and getattr(layer, "weights", None):
            text, color = ("Trainable", "forestgreen") if layer.trainable else ("Non-trainable", "firebrick")
            cells.append(cell(f"<b>{text}</b>", color, ' color="white"'))
        return cells


def _is_graph(layer: Any) -> bool:
    return isinstance(layer, Functional) or (isinstance(layer, Sequential) and layer._functional is not None)


def _described(layer: Any, end: str, attribute: str) -> str:
    """The shapes or dtypes of a layer's inputs or outputs; "?" where it is not called just once."""
    try:
        tensors = getattr(layer, end)
    except (AttributeError, ValueError):
        return "?"
    values = tree.map_structure(lambda x: _Leaf(getattr(x, attribute)), tensors)
    if isinstance(values, dict):
        return html.escape(", ".join(f"{key}: {value}" for key, value in values.items()))
    return html.escape(str(values))


class _Leaf:
    """A shape within a structure, which is not to be opened."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return str(self.value)
