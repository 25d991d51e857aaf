"""`accelerate`, what it returns, what it says, and how it is taken back."""

import copy
import importlib
from typing import Any

import numpy as np
import pytest

import fastk.integrations.keras as inside
from fastk.integrations.keras import support
from fastk.integrations.keras.acceleration import PLACE
from fastk.training.step import CapturedStep

keras: Any = importlib.import_module("keras")

L = keras.layers


def model_of(**options):
    layers = [L.Dense(8, name="hidden"), L.ReLU(name="relu"), L.Dense(3, activation="softmax", name="out")]
    model = keras.Sequential([keras.Input((6,)), *layers], name="net")
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def test_taken_back(data):
    x, y = data((6,))
    model = model_of()
    before = vars(model).copy()
    with inside.accelerate(model) as handle:
        model.fit(x, y, batch_size=8, verbose=0)
        assert handle.session is not None
        assert isinstance(handle.session.steps["train"], CapturedStep) and handle.session.steps["train"].programs
    after = vars(model)
    assert PLACE not in after and "fit" not in after and "make_train_function" not in after
    assert before.keys() <= after.keys()
    weights = model.get_weights()
    iterations = int(model.optimizer.iterations)
    model.fit(x, y, batch_size=8, verbose=0)  # on from there, by Keras
    assert int(model.optimizer.iterations) == iterations + 5
    assert any((a != b).any() for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.train_function.__qualname__.startswith("TorchTrainer")
    handle.undo()  # again: nothing is left to do


def test_accelerated_twice_and_restored():
    model = model_of()
    first = inside.accelerate(model)
    second = inside.accelerate(model)
    first.undo()  # the second's are in place
    assert vars(model)[PLACE] is second
    inside.restore(model)
    inside.restore(model)
    assert PLACE not in vars(model)


def test_between_plain_and_accelerated_training_is_one(pair, data):
    x, y = data((6,))
    two = pair(model_of)
    for turn in range(3):
        two.fit(x, y, batch_size=8)
        inside.restore(two.models[1]) if turn % 2 == 0 else inside.accelerate(two.models[1])


def test_explain_says_what_runs_how(data):
    x, y = data((6,))
    model = model_of()
    handle = inside.accelerate(model)
    report = handle.explain(batch_size=16)
    assert report.call == "fastk's plan" and report.kept == () and report.plan is not None
    assert [row.layers for row in report.plan.rows] == [("hidden", "relu"), ("out",), ("out",)]
    assert "no step has run yet" in str(report)
    model.fit(x, y, batch_size=8, verbose=0)
    text = str(inside.explain(model))
    assert "optimizer: fastk's Adam, on Keras's variables" in text
    assert "train: replayed, as recorded for batches of 1 shape" in text
    assert "Loss.__call__: by fastk" in text


def test_explaining_leaves_statistics_and_seeds(data):
    layers = [L.Dense(8), L.BatchNormalization(), L.Dropout(0.5, seed=1), L.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    inside.accelerate(model)
    before = [v.numpy() for v in model.variables]
    inside.explain(model)
    for a, v in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())


def test_what_is_not_accelerated_is_said(data):
    class Mine(L.Layer):
        def call(self, x):
            return x + 1.0

    model = keras.Sequential(
        [keras.Input((6,)), Mine(name="mine"), L.Lambda(lambda x: x * 2, name="double"), L.Dense(3)]
    )
    report = inside.accelerate(model).explain()
    assert dict(report.kept) == {"mine": "Mine is the user's own", "double": "it runs the user's function"}
    assert report.optimizer.startswith("none")

    class Whole(keras.Model):
        def call(self, x):
            return x

    model = Whole()
    assert "not built yet" in str(inside.accelerate(model).explain())
    model.build((None, 3))
    assert "Whole has a `call()` of its own" in str(inside.explain(model))
    with pytest.raises(ValueError, match="is not accelerated"):
        inside.explain(model_of())


def test_saved_copied_and_cloned_without(data, tmp_path):
    model = model_of()
    inside.accelerate(model)
    model.save(tmp_path / "m.keras")
    for other in (keras.models.load_model(tmp_path / "m.keras"), keras.models.clone_model(model), copy.deepcopy(model)):
        assert PLACE not in vars(other) and "fit" not in vars(other)
    x, y = data((6,))
    model.fit(x, y, verbose=0)


def test_other_things_than_models_of_keras():
    import fastk

    with pytest.raises(TypeError, match=r"takes a keras\.Model"):
        inside.accelerate(fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)]))
    with pytest.raises(TypeError, match="Received: 3"):
        inside.accelerate(3)


def test_another_version_or_backend(monkeypatch):
    model = model_of()
    monkeypatch.setattr(keras, "__version__", "3.14.1")
    for call in (lambda: inside.accelerate(model), inside.patched):
        with pytest.raises(RuntimeError, match=r"works inside Keras 3\.15 and this is Keras 3\.14\.1.*pip install"):
            call()
    monkeypatch.undo()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"runs on 'jax'.*KERAS_BACKEND=torch"):
        inside.accelerate(model)
    monkeypatch.undo()
    monkeypatch.setattr(support.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install"):
        inside.accelerate(model)
