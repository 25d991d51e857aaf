"""Models as programs of torch and as ONNX files: the same outputs, at other sizes of the batch."""

import os
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers

GOLDEN = pathlib.Path(__file__).parents[1] / "saving" / "golden"
NAMES = ("mlp", "cnn_bn", "lstm", "gru", "bidirectional", "two_branch", "transformer", "noise")
UNROLLED = ("lstm", "gru", "bidirectional")  # whose steps are written one by one, which takes seconds
# float32 sums of some hundred terms in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


def models():
    stack = [layers.Conv2D(3, 3, activation="relu"), layers.BatchNormalization(), layers.MaxPooling2D(2)]
    ends = [layers.Flatten(), layers.Dense(3, activation="softmax")]
    image = keras.Sequential([keras.Input((6, 6, 2)), *stack, *ends])
    yield "sequential", image, lambda n: torch.randn(n, 6, 6, 2)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    two = keras.Model([a, b], [layers.Add(name="sum")([layers.Dense(4)(a), b]), b])
    yield "two inputs", two, lambda n: [torch.randn(n, 4), torch.randn(n, 4)]
    outputs = {"z": layers.Dense(2, name="z")(a), "y": layers.Dense(3, name="y")(b)}
    named = keras.Model({"b": b, "a": a}, outputs)
    yield "named inputs", named, lambda n: {"b": torch.randn(n, 4), "a": torch.randn(n, 4)}
    one = keras.Model(a, layers.Dense(2)(a))
    yield "one input", one, lambda n: torch.randn(n, 4)


def golden(name):
    """A model that Keras saved, and a function that gives inputs for it."""
    model = keras.saving.load_model(GOLDEN / f"{name}.keras")
    arrays = np.load(GOLDEN / f"{name}.npz")
    x = [np.resize(arrays[key], (90, *arrays[key].shape[1:])) for key in sorted(arrays) if key[0] == "x"]
    taken = dict(zip("ab", x, strict=True)) if len(x) > 1 else x[0]
    return model, lambda n: keras.tree.map_structure(lambda x: torch.as_tensor(x[:n]), taken)


def computes_the_same(program, model, make, sizes):
    for n in sizes:
        x = make(n)
        expected = keras.tree.flatten(model(x, training=False))
        for found, wanted in zip(keras.tree.flatten(program(x)), expected, strict=True):
            np.testing.assert_allclose(found.detach(), wanted.detach().cpu().numpy(), **CLOSE)


@pytest.mark.parametrize("name", ["sequential", "two inputs", "named inputs", "one input"])
def test_a_program_computes_what_the_model_does(name, tmp_path, capsys):
    model, make = next((m, f) for n, m, f in models() if n == name)
    path = tmp_path / "model.pt2"
    model.export(path, format="torch")
    assert str(path) in capsys.readouterr().out and os.listdir(tmp_path) == ["model.pt2"]
    computes_the_same(torch.export.load(path).module(), model, make, (2, 5))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in UNROLLED else ()) for name in NAMES]
)
def test_models_of_keras_are_programs_for_any_batch(name, tmp_path):
    model, make = golden(name)
    model.export(tmp_path / "model.pt2", format="torch", verbose=False)
    computes_the_same(torch.export.load(tmp_path / "model.pt2").module(), model, make, (3, 1, 90))


def test_a_subclass_needs_a_signature(tmp_path):
    class Double(keras.Model):
        def call(self, x):
            return 2 * x

    with pytest.raises(ValueError, match="input_signature"):
        Double().export(tmp_path / "model.pt2", format="torch")
    Double().export(tmp_path / "model.pt2", "torch", False, [keras.KerasTensor((None, 3))])
    assert torch.export.load(tmp_path / "model.pt2").module()(torch.ones(4, 3)).sum() == 24


class Sum(keras.Model):
    """Takes two arguments."""

    def build(self, x_shape, y_shape):
        self.scale = self.add_weight(shape=(x_shape[-1],), initializer="ones", name="scale")

    def call(self, x, y):
        return x * self.scale + y


def test_a_subclass_that_was_called_has_one(tmp_path):
    model, x = Sum(), np.arange(6.0, dtype="float32").reshape(2, 3)
    model(x, x)
    model.export(tmp_path / "model.pt2", format="torch", verbose=False)
    x = torch.arange(15.0).reshape(5, 3)
    np.testing.assert_array_equal(torch.export.load(tmp_path / "model.pt2").module()(x, 1 + x).detach(), 2 * x + 1)


def test_a_size_that_the_model_fixes_is_not_left_open(tmp_path):
    """Better an error than a program for batches of two."""

    class Pairs(keras.Model):
        def call(self, x):
            return x[0] - x[1] if x.shape[0] == 2 else x

    with pytest.raises(Exception, match="batch"):
        Pairs().export(tmp_path / "model.pt2", "torch", False, [keras.KerasTensor((None, 3))])
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- ONNX


def run_onnx(path, x):
    """The outputs of a file by name, for inputs by name or in order."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    values = [x[name] for name in names] if isinstance(x, dict) else keras.tree.flatten(x)
    given = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))


def onnx_computes_the_same(path, model, make, sizes):
    for n in sizes:
        x = make(n)
        found, expected = run_onnx(path, x), model(x, training=False)
        if not isinstance(expected, dict):
            expected = dict(zip(found, keras.tree.flatten(expected), strict=True))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name].detach().cpu().numpy(), **CLOSE)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [("sequential", ["input_layer"], ["dense"]), ("named inputs", ["a", "b"], ["y", "z"])],
)
def test_an_onnx_file_computes_what_the_model_does(name, inputs, outputs, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, make = next((m, f) for n, m, f in models() if n == name)
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx")
    assert str(path) in capsys.readouterr().out and os.listdir(tmp_path) == ["model.onnx"]
    graph = onnx.load(path).graph
    assert sorted(value.name for value in graph.input) == inputs
    assert sorted(value.name for value in graph.output) == outputs
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    onnx_computes_the_same(path, model, make, (2, 1, 5))


@pytest.mark.timeout(120)
def test_arguments_of_a_call_and_names_that_are_given(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    specs = [layers.InputSpec(shape=(None, 3), dtype="float32", name=name) for name in ("first", "second")]
    model = Sum()
    model.build((None, 3), (None, 3))
    path = tmp_path / "model"  # as Keras, of any ending
    model.export(path, format="onnx", input_signature=specs, verbose=False, opset_version=20)
    assert onnx.load(path).opset_import[0].version == 20
    x = np.arange(15.0, dtype="float32").reshape(5, 3)
    np.testing.assert_array_equal(run_onnx(path, {"first": x, "second": x})["output_0"], 2 * x)


@pytest.mark.slow
def test_an_output_that_is_an_input_has_a_name_of_its_own(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, make = next((m, f) for n, m, f in models() if n == "two inputs")
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    onnx_computes_the_same(tmp_path / "model.onnx", model, make, (2, 5))
    assert list(run_onnx(tmp_path / "model.onnx", make(2))) == ["sum", "b_1"]


def test_what_no_file_can_hold_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("fastk.export.onnx_file.MAX_SIZE", 40)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"40 bytes.*torch program instead"):
        model.export(tmp_path / "model.onnx", format="onnx")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_models_of_keras_become_onnx_files(name, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, make = golden(name)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    onnx_computes_the_same(tmp_path / "model.onnx", model, make, (3, 1, 90))


def test_without_its_packages_the_error_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        model.export(tmp_path / "model.onnx", format="onnx")


def test_refusals(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    for format in ("tf_saved_model", "openvino", "litert"):
        with pytest.raises(NotImplementedError, match=f"format='{format}'"):
            model.export(tmp_path / "model", format=format)
    with pytest.raises(ValueError, match=r"\.pt2"):
        model.export(tmp_path / "model", format="torch")
    with pytest.raises(NotImplementedError, match="archives"):
        keras.export.ExportArchive()
    with pytest.raises(NotImplementedError, match="quantize"):
        model.quantize("int8")
    with pytest.raises(NotImplementedError, match="half precision"):
        model.layers[0].quantize("int8")
