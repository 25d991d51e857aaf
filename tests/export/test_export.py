"""Models as programs of torch: the same outputs, at other sizes of the batch."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers


def models():
    stack = [layers.Conv2D(3, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten()]
    image = keras.Sequential([keras.Input((6, 6, 2)), *stack, layers.Dense(3, activation="softmax")])
    yield "sequential", image, lambda n: torch.randn(n, 6, 6, 2)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    two = keras.Model([a, b], [layers.Add()([layers.Dense(4)(a), b]), b])
    yield "two inputs", two, lambda n: [torch.randn(n, 4), torch.randn(n, 4)]
    named = keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Concatenate()([a, b])))
    yield "named inputs", named, lambda n: {"a": torch.randn(n, 4), "b": torch.randn(n, 4)}


@pytest.mark.parametrize("name", ["sequential", "two inputs", "named inputs"])
def test_a_program_computes_what_the_model_does(name, tmp_path, capsys):
    model, make = next((m, f) for n, m, f in models() if n == name)
    path = tmp_path / "model.pt2"
    model.export(path, format="torch")
    assert str(path) in capsys.readouterr().out
    program = torch.export.load(path).module()
    for n in (2, 5):
        x = make(n)
        expected = keras.tree.flatten(model(x))
        for found, wanted in zip(keras.tree.flatten(program(x)), expected, strict=True):
            np.testing.assert_allclose(found.detach(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_a_subclass_needs_a_signature(tmp_path):
    class Double(keras.Model):
        def call(self, x):
            return 2 * x

    with pytest.raises(ValueError, match="input_signature"):
        Double().export(tmp_path / "model.pt2", format="torch")
    Double().export(tmp_path / "model.pt2", "torch", False, [keras.KerasTensor((None, 3))])
    assert torch.export.load(tmp_path / "model.pt2").module()(torch.ones(4, 3)).sum() == 24


def test_refusals(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    for format in ("tf_saved_model", "onnx", "litert"):
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
