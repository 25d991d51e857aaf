"""Applications beside Keras's own, which runs in a process of its own."""

import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fastk
from tests.applications import cases

HERE = pathlib.Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed"),
]


def keras_says(command, path):
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    arguments = [sys.executable, HERE / "keras_side.py", command, path]
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return keras_says("outputs", tmp_path_factory.mktemp("keras"))


@pytest.mark.parametrize("name", cases.NUMBERS)
def test_outputs_are_those_of_keras(name, outputs):
    expected = np.load(outputs / "outputs.npz")[name]
    model = cases.made(fastk, name, cases.NUMBERS[name])
    cases.randomise(model)
    found = model.predict_on_batch(cases.images(model))
    np.testing.assert_allclose(found, expected, rtol=0, atol=cases.tolerance(model) * np.abs(expected).max())


@pytest.mark.parametrize("name", cases.SAVED)
@pytest.mark.parametrize("by_name", [False, True])
def test_files_of_the_old_format_load(name, by_name, outputs):
    expected = cases.made(fastk, name, cases.NUMBERS[name])
    cases.randomise(expected)
    loaded = cases.made(fastk, name, cases.NUMBERS[name])
    loaded.load_weights(outputs / f"{name}.h5", by_name=by_name)
    for a, b in zip(expected.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_recorded_structure_is_what_keras_says(tmp_path):
    found = keras_says("structure", tmp_path / "structure.json")
    assert json.loads(found.read_text()) == json.loads((HERE / "structure.json").read_text())


def test_arguments_and_modules_are_those_of_keras(tmp_path):
    found = json.loads(keras_says("signatures", tmp_path / "signatures.json").read_text())
    for name, signature in found["functions"].items():
        own = [(p.name, p.default) for p in inspect.signature(getattr(fastk.applications, name)).parameters.values()]
        assert f"({', '.join(f'{name}={default!r}' for name, default in own)})" == signature
    for name, public in found["modules"].items():
        module = importlib.import_module(f"fastk.applications.{name}")
        assert all(hasattr(module, function) for function in public), name
