"""Layers of text, whose vocabularies are in files beside the weights, both ways; Keras needs TensorFlow for them."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import text_model

import fastk

HERE = pathlib.Path(__file__).parent


def agrees(model, recorded):
    x, t = text_model.data()
    np.testing.assert_allclose(model.predict(x, verbose=0), recorded["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.evaluate(x, t, verbose=0), recorded["loss"], rtol=1e-5)
    state = [recorded[key] for key in sorted(recorded) if key[0] == "o"]
    for variable, expected in zip(model.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    np.testing.assert_allclose(model.train_on_batch(x, t), recorded["nloss"], rtol=1e-5)
    weights = [recorded[key] for key in sorted(recorded) if key[0] == "c"]
    for variable, expected in zip(model.trainable_weights, weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_model_of_keras_goes_on(golden):
    agrees(fastk.saving.load_model(golden / "text.keras"), dict(np.load(golden / "text.npz")))


def test_vocabularies_are_those_that_keras_finds(golden):
    ours, theirs = text_model.make(fastk), fastk.saving.load_model(golden / "text.keras")
    for name in ("tokens", "counts", "words", "numbers"):
        assert ours.get_layer(name).get_vocabulary() == theirs.get_layer(name).get_vocabulary()


def test_text_goes_on_after_being_saved_again(golden, tmp_path):
    fastk.saving.load_model(golden / "text.keras").save(tmp_path / "again.keras")
    agrees(fastk.saving.load_model(tmp_path / "again.keras"), dict(np.load(golden / "text.npz")))


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.util.find_spec("tensorflow") is None,
    reason="Keras's layers of text need TensorFlow",
)
def test_keras_goes_on_with_a_model_of_fastk(tmp_path):
    model, (x, t) = text_model.make(fastk), text_model.data()
    for _ in range(2):
        model.train_on_batch(x, t)
    model.save(tmp_path / "ours_text.keras")
    command = [sys.executable, str(HERE / "keras_text.py"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    agrees(model, dict(np.load(tmp_path / "read_text.npz")))
