"""Drawings of models: what is in them, and what is said without the programs that draw."""

import shutil
import sys

import pytest

import fastk

layers = fastk.layers


@pytest.fixture
def model():
    a, b = fastk.Input((4,), name="a"), fastk.Input((4,), name="b")
    deep, top = layers.Dense(3, activation="relu", name="deep"), layers.Dense(3, name="top")
    inner = fastk.Sequential([fastk.Input((4,)), deep, top], name="inner")
    frozen = layers.Dense(3, name="frozen", trainable=False)
    return fastk.Model([a, b], layers.Add(name="sum")([inner(a), frozen(b)]), name="drawn")


@pytest.fixture
def pydot():
    return pytest.importorskip("pydot", reason="pydot is not installed")


def names(dot, ids):
    """`{(from, to)}` of the edges, by layer name."""
    return {(ids[edge.get_source()], ids[edge.get_destination()]) for edge in dot.get_edges()}


def ids_of(*models):
    return {str(id(layer)): layer.name for model in models for layer in getattr(model, "operations", model.layers)}


def test_boxes_and_arrows(pydot, model):
    dot = fastk.utils.model_to_dot(model)
    assert isinstance(dot, pydot.Dot) and dot.get_rankdir() == "TB" and dot.get_splines() == "ortho"
    assert {node.get_name() for node in dot.get_nodes()} == {
        *ids_of(model),
        "node",
    }  # "node" holds what all have in common
    assert names(dot, ids_of(model)) == {("a", "inner"), ("b", "frozen"), ("inner", "sum"), ("frozen", "sum")}


def test_models_within_become_frames(pydot, model):
    dot = fastk.utils.model_to_dot(model, expand_nested=True)
    (frame,) = dot.get_subgraphs()
    ids = ids_of(model, model.get_layer("inner"))
    assert names(frame, ids) == {("deep", "top")}
    assert names(dot, ids) == {("a", "deep"), ("b", "frozen"), ("top", "sum"), ("frozen", "sum")}
    assert isinstance(fastk.utils.model_to_dot(model, subgraph=True), pydot.Cluster)


def test_boxes_say_what_is_asked_for(pydot, model):
    def labels(**options):
        return " ".join(node.get_label() or "" for node in fastk.utils.model_to_dot(model, **options).get_nodes())

    plain = labels()
    assert "<b>frozen</b> (Dense)" in plain and not any(
        word in plain for word in ("shape", "dtype", "rainable", "Activation")
    )
    assert "frozen" not in labels(show_layer_names=False)
    assert "Input shape: <b>(None, 4)</b>" in labels(show_shapes=True)
    assert "Input shape: <b>[(None, 3), (None, 3)]</b>" in labels(show_shapes=True)
    assert "Output dtype: <b>float32</b>" in labels(show_dtype=True)
    assert "Activation: <b>linear</b>" in labels(show_layer_activations=True)
    assert "Trainable" in labels(show_trainable=True) and "Non-trainable" in labels(show_trainable=True)


def test_names_are_no_markup(pydot):
    dot = fastk.utils.model_to_dot(fastk.Sequential([fastk.Input((2,)), layers.Dense(1, name="a<b>&c")]))
    assert "a&lt;b&gt;&amp;c" in dot.to_string()


def test_a_subclass_is_one_box(pydot):
    class Own(fastk.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="not yet been built"):
        fastk.utils.model_to_dot(Own())
    own = Own()
    own.build((None, 2))
    assert "<b>own</b> (Own)" in fastk.utils.model_to_dot(own).to_string()


def test_arguments_that_are_gone_are_named(model):
    with pytest.raises(ValueError, match="layer_range"):
        fastk.utils.model_to_dot(model, layer_range=("a", "b"))
    with pytest.raises(ValueError, match=r"Unrecognized.*wrong"):
        fastk.utils.plot_model(model, wrong=1)


def test_without_pydot_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(ImportError, match=r"fastk\[plot\]"):
        fastk.utils.plot_model(model)


def test_without_graphviz_it_says_what_to_install(pydot, model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="apt install graphviz"):
        fastk.utils.plot_model(model, tmp_path / "model.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("options", ({}, {"show_shapes": True, "expand_nested": True, "rankdir": "LR"}))
def test_a_file_is_drawn(pydot, model, tmp_path, options):
    fastk.utils.plot_model(model, tmp_path / "model.svg", **options)
    assert "<svg" in (tmp_path / "model.svg").read_text()
