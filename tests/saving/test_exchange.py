"""Keras reads what fastk writes, and fastk what Keras writes, with the same numbers on both sides."""

import importlib.util
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastk

HERE = pathlib.Path(__file__).parent
GOLDEN = ("mlp", "cnn_bn", "lstm", "gru", "bidirectional", "two_branch", "transformer", "noise")
ZOO = ("every_layer", "nested", "subclassed", "functional_subclass")
DESCRIBED = ("every_layer", "boxed", "plain_layers", "judged")
OPTIMIZERS = (
    "sgd", "sgd_momentum", "rmsprop", "adam_amsgrad", "adam_accumulating", "adamw_ema", "nadam", "adamax", "adagrad",
    "adadelta", "adafactor", "ftrl", "lion", "lamb", "scaled", "scheduled",
)  # fmt: skip
OLD = ("every_layer", "plain_layers", "sgd_momentum", "rmsprop", "adam_amsgrad", "adamw_ema", "scheduled")
# float32 sums of at most some hundred terms in another order, through a few layers and a few steps.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
# The same with activations of bfloat16, whose roundings are of 2**-9.
CLOSE_IN_BFLOAT16: dict[str, Any] = {"rtol": 2**-7, "atol": 2**-9}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.util.find_spec("h5py") is None,
    reason="Keras is not installed",
)


def flat(value):
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def name_arrays(letter, value):
    named = isinstance(value, dict)
    return {
        f"{letter}{i}{key}": v for i, (key, v) in enumerate(value.items() if named else (("", v) for v in flat(value)))
    }


def note(model, x, t):
    """What `keras_side.note` notes."""
    found = {"y": flat(model.predict(x, verbose=0)), "w": [v.numpy() for v in model.weights]}
    if t is not None:
        found |= {"o": [v.numpy() for v in model.optimizer.variables], "loss": [flat(model.evaluate(x, t, verbose=0))]}
        if model.name != "noise":
            found |= {"nloss": [flat(model.train_on_batch(x, t))], "n": flat(model.predict(x, verbose=0))}
    return found


def agree(found, path):
    expected = dict(np.load(path))
    for letter, values in found.items():
        keys = sorted(key for key in expected if key == letter or (key[0] == letter and key[1:].isdigit()))
        assert len(keys) == len(values), letter
        for key, value in zip(keys, values, strict=True):
            close = CLOSE_IN_BFLOAT16 if "judged" in path.name else CLOSE
            tolerance: dict[str, Any] = {"rtol": 0, "atol": 0} if letter in "wo" else close
            np.testing.assert_allclose(value, expected[key], err_msg=key, **tolerance)


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory, zoo):
    """`(folder, what fastk's models do)`, after Keras has read and written in the folder."""
    folder = tmp_path_factory.mktemp("exchange")
    noted = {}

    def hand_over(model, name, x, t):
        model.save(folder / f"ours_{name}.keras")
        np.savez(folder / f"ours_{name}.npz", **name_arrays("x", x), **({} if t is None else name_arrays("t", t)))
        if name in zoo.OLD:
            model.save(folder / f"ours_{name}.h5")
        noted[name] = note(model, x, t)

    for name in GOLDEN:
        arrays = np.load(HERE / "golden" / f"{name}.npz")
        model = fastk.saving.load_model(HERE / "golden" / f"{name}.keras")
        x, t = ([arrays[key] for key in sorted(arrays) if key[0] == letter and key[1:].isdigit()] for letter in "xt")
        two = name == "two_branch"
        x = dict(zip("ab", x, strict=True)) if two else x[0]
        t = dict(zip(("label", "score"), t, strict=True)) if two else t[0]
        hand_over(model, name, x, t)
    for name in OPTIMIZERS:
        model, (x, t) = zoo.compiled(fastk, name), zoo.data(name)
        for _ in range(3):
            model.train_on_batch(x, t)
        hand_over(model, name, x, t)
    for name in DESCRIBED:
        hand_over(getattr(zoo, name)(fastk), name, *zoo.data(name))
    for name in ZOO:
        fastk.utils.clear_session()
        model, (x, t) = getattr(zoo, name)(fastk), zoo.data(name)
        model.save_weights(folder / f"ours_{name}.weights.h5")
        model.save_weights(folder / f"ours_{name}.weights.json", max_shard_size=20000 / 2**30)
        noted[f"{name}.weights.h5"] = noted[f"{name}.weights.json"] = note(model, x, t)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "keras_side.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, noted


@pytest.mark.parametrize("name", GOLDEN + OPTIMIZERS + DESCRIBED)
def test_keras_goes_on_with_models_of_fastk(exchanged, name):
    folder, noted = exchanged
    agree(noted[name], folder / f"read_ours_{name}.npz")


@pytest.mark.parametrize("kind", ("weights.h5", "weights.json"))
@pytest.mark.parametrize("name", ZOO)
def test_keras_loads_weights_of_fastk(exchanged, name, kind):
    folder, noted = exchanged
    agree(noted[f"{name}.{kind}"], folder / f"read_ours_{name}.{kind}.npz")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_models_of_keras_go_on(exchanged, zoo, name):
    folder, _ = exchanged
    model = fastk.saving.load_model(folder / f"theirs_{name}.keras")
    agree(note(model, *zoo.data(name)), folder / f"theirs_{name}.npz")


@pytest.mark.parametrize("name", OLD)
def test_keras_loads_old_files_of_fastk(exchanged, name):
    folder, noted = exchanged
    agree({letter: noted[name][letter] for letter in "yw"}, folder / f"read_ours_{name}.h5.npz")


@pytest.mark.parametrize("name", OLD)
def test_old_files_of_keras_go_on(exchanged, zoo, name):
    assert zoo.OLD == OLD
    folder, _ = exchanged
    model = fastk.saving.load_model(folder / f"theirs_{name}.h5")
    agree(note(model, *zoo.data(name)), folder / f"theirs_{'whole_' if name in DESCRIBED else ''}{name}.npz")


@pytest.mark.parametrize("name", DESCRIBED)
def test_descriptions_of_keras_are_understood(exchanged, zoo, name):
    folder, _ = exchanged
    model = fastk.saving.load_model(folder / f"theirs_{name}.keras")
    agree(note(model, *zoo.data(name)), folder / f"theirs_whole_{name}.npz")


@pytest.mark.parametrize("name", ZOO)
def test_weights_of_keras_are_loaded(exchanged, zoo, name):
    folder, _ = exchanged
    model = getattr(zoo, name)(fastk)
    model.load_weights(folder / f"theirs_{name}.weights.h5")
    agree(note(model, *zoo.data(name)), folder / f"theirs_{name}.npz")
