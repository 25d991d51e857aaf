"""Files of real Keras, read: predictions, weights, optimizer state, losses, and one more step of training."""

import json
from typing import Any

import numpy as np
import pytest

import fastk

MODELS = ("mlp", "cnn_bn", "lstm", "gru", "bidirectional", "two_branch", "transformer", "noise")
# float32 sums of at most some hundred terms in another order, through a few layers.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def flat(value):
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Golden:
    def __init__(self, folder, name):
        self.path = folder / f"{name}.keras"
        self.arrays = dict(np.load(folder / f"{name}.npz"))
        self.info = json.loads((folder / f"{name}.json").read_text())
        self.x = self._structure("x", self.info["inputs"])
        self.t = self._structure("t", self.info["targets"])

    def starting(self, letter):
        return [self.arrays[key] for key in sorted(self.arrays) if key[0] == letter and key[1:].isdigit()]

    def _structure(self, letter, keys):
        values = self.starting(letter)
        return dict(zip(keys, values, strict=True)) if keys else values[0]


@pytest.fixture(params=MODELS)
def recorded(request, golden):
    return Golden(golden, request.param)


def test_a_model_of_keras_goes_on_as_it_was(recorded):
    model = fastk.saving.load_model(recorded.path)

    for found, expected in zip(flat(model.predict(recorded.x, verbose=0)), recorded.starting("y"), strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)
    for variable, expected in zip(model.weights, recorded.starting("w"), strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    for variable, expected in zip(model.optimizer.variables, recorded.starting("o"), strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    np.testing.assert_allclose(
        flat(model.evaluate(recorded.x, recorded.t, verbose=0)), recorded.arrays["loss"], **CLOSE
    )

    if "nloss" in recorded.arrays:
        np.testing.assert_allclose(
            flat(model.train_on_batch(recorded.x, recorded.t)), recorded.arrays["nloss"], **CLOSE
        )
        for found, expected in zip(flat(model.predict(recorded.x, verbose=0)), recorded.starting("n"), strict=True):
            np.testing.assert_allclose(found, expected, **CLOSE)


def test_it_is_the_same_after_being_saved_again(recorded, tmp_path):
    first = fastk.saving.load_model(recorded.path)
    first.save(tmp_path / "again.keras")
    again = fastk.saving.load_model(tmp_path / "again.keras")
    assert again.get_config() == first.get_config()
    assert again.get_compile_config() == first.get_compile_config()
    for variables in ("weights", "optimizer.variables"):
        owner, _, name = variables.rpartition(".")
        pairs = zip(
            getattr(getattr(first, owner, first), name), getattr(getattr(again, owner, again), name), strict=True
        )
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


def test_without_compiling_there_is_no_optimizer(golden):
    assert not fastk.saving.load_model(golden / "mlp.keras", compile=False).compiled


@pytest.mark.parametrize("name", ("mlp", "cnn_bn"))
@pytest.mark.parametrize("kind", ("weights.h5", "keras"))
def test_weights_of_keras_are_loaded_into_a_model(golden, name, kind):
    recorded = Golden(golden, name)
    model = fastk.models.clone_model(fastk.saving.load_model(recorded.path, compile=False))
    model.load_weights(golden / f"{name}.{kind}")
    for variable, expected in zip(model.weights, recorded.starting("w"), strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
