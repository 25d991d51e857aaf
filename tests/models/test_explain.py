"""`model.explain()`: that it says what runs, counts what was counted by hand, and changes nothing."""

import json

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.graph import peaks
from fastk.models import explain as module
from tests.graph.reference import MODELS, build


def mlp():
    model = keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(128, name="hidden"),
            layers.Activation("relu", name="act"),
            layers.Dropout(0.2, name="drop"),
            layers.Dense(10, activation="softmax", name="out"),
        ],
        name="mlp",
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_costs_are_those_of_the_mathematics():
    first, second, softmax = mlp().explain(batch_size=32).rows
    assert first.layers == ("hidden", "act", "drop") and first.shape == (32, 128)
    products = 2 * 32 * 784 * 128
    assert first.flops == (products, products)  # the gradient of the data is not asked for
    weights = 784 * 128 + 128
    assert first.bytes[0] == 4 * (32 * 784 + weights + 32 * 128)
    assert first.bytes[1] == 4 * (32 * 784 + 2 * weights + 32 * 128)
    assert second.flops == (2 * 32 * 1280, 2 * 2 * 32 * 1280)
    assert softmax.flops == (0, 0) and softmax.launches == (1, 0)  # the loss takes the logits


def test_choices_and_their_reasons():
    first = mlp().explain().rows[0]
    assert first.implementation == {"dense": "aten"}
    assert "other kernels run on CUDA" in first.why["dense"]
    assert first.rules == ("product → activation", "dense → dropout")


def test_launches_are_those_of_torch():
    dense = keras.Sequential([layers.Input((8,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
    first, second = dense.explain().rows
    assert first.launches[0] == 2 and second.launches[0] == 1
    assert second.launches[1] == 3  # dx, dW, db
    assert dense.explain(training=False).totals()["launches"] == 3


def test_fusion_with_triton_saves_launches():
    from fastk import config
    from fastk.kernels import triton_runtime

    if (why := triton_runtime.why_not("cuda" if torch.cuda.is_available() else "cpu")) is not None:
        pytest.skip(why)
    before = config.kernels()
    config.set_kernels("triton")
    try:
        fused = mlp().explain()
    finally:
        config.set_kernels(before)
    first = fused.rows[0]
    assert first.implementation == {"dense": "triton"} and first.why == {"dense": "asked for by name"}
    # The product takes the activation and the mask along: forward 3 calls of kernels become 1, backward too.
    assert fused.totals()["launches_unfused"] - fused.totals()["launches"] == 4


def test_it_can_be_read_and_is_json():
    explanation = mlp().explain(64)
    text = str(explanation)
    assert text.splitlines()[0] == "mlp: a training step (forward, backward) of 64 samples on cpu"
    assert "1  hidden + act + drop  dense    64×128" in text
    assert "dense → dropout: the mask is drawn where the product is written" in text
    assert "sparse_categorical_crossentropy is computed from the logits that out takes its softmax of" in text
    assert "Predicted time: not known" in text
    found = json.loads(json.dumps(explanation.as_dict()))
    assert found["ops"][0]["layers"] == ["hidden", "act", "drop"]
    assert found["totals"]["ops"] == 3 and found["totals"]["microseconds"] is None


def test_times_where_the_peaks_are_known(monkeypatch):
    monkeypatch.setattr(module, "peak_of", lambda name: peaks.peak_of("NVIDIA H200"))
    explanation = mlp().explain(4096)
    first = explanation.rows[0]
    assert first.microseconds and first.bytes and first.flops
    np.testing.assert_allclose(first.microseconds[0], max(first.flops[0] / 165e6, first.bytes[0] / 4.8e6))
    assert "µs" in str(explanation) and "not known" not in str(explanation)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_changed(name, training):
    model = build(name)
    before = [v.numpy() for v in model.variables]
    explanation = model.explain(4, training)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
        assert variable.value.grad is None
    assert explanation.totals()["ops"] == MODELS[name][2][1 if training else 2]


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.relu = layers.Dense(3), layers.ReLU()

    def call(self, x):
        return self.relu(self.dense(x))


class Opaque(keras.Model):
    def call(self, x):
        return x * float(x.sum())


def test_what_is_not_planned_says_why():
    model = Own()
    model(np.ones((2, 3), "float32"))
    explanation = model.explain()
    assert [row.op for row in explanation.rows] == ["dense", "activation"]  # as they run: not fused
    assert "Own has a `call()` of its own" in str(explanation)
    model = Opaque()
    model(np.ones((2, 3), "float32"))
    explanation = model.explain()
    assert not explanation.rows and "not traced, so that the layers run one by one" in str(explanation)
    model = mlp()
    model.compile("sgd", "mse", run_eagerly=True)
    assert "run_eagerly=True" in str(model.explain()) and len(model.explain().rows) == 5


def test_what_is_left_says_why():
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Embedding(9, 4, mask_zero=True, name="words"),
            layers.LSTM(3, name="lstm"),
            layers.Dense(3, activity_regularizer="l2", name="dense"),
            layers.ReLU(name="act"),
        ]
    )
    explanation = model.explain()
    kept = {layers: why for layers, why in explanation.notes}
    assert kept[("words",)] == "it makes masks" and kept[("lstm",)] == "its input has a mask"
    assert "dense is called as a layer, since its outputs are regularized" in kept[("dense", "act")]
    assert [row.flops for row in explanation.rows[:3]] == [None, None, None]
    assert "?" in str(explanation) and model.losses == []
