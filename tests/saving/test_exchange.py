"""Keras reads what fastk writes, and fastk what Keras writes, with the same numbers on both sides."""

import importlib.util
import os
import pathlib
import subprocess
import sys
from typing import Any

import exchange
import numpy as np
import pytest
import trained_zoo

import fastk

HERE = pathlib.Path(__file__).parent
# float32 sums of at most some hundred terms in another order, through a few layers and a few steps.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
# In half precision each of fifteen roundings on the way (of inputs, kernels, products, sums and activations in three
# layers) may fall otherwise, by half a unit in the last place of the largest value.
ROUNDINGS = {"bfloat16": 16 * 2**-9, "float16": 16 * 2**-12}
HALF = {"judged": "bfloat16", "trained_mixed_bfloat16": "bfloat16", "trained_mixed_float16": "float16"}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")


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
        if model.name.removeprefix("with_") not in exchange.NOT_CONTINUED:
            found |= {"nloss": [flat(model.train_on_batch(x, t))], "n": flat(model.predict(x, verbose=0))}
            for _ in range(2):
                model.train_on_batch(x, t)
            found |= {"c": [v.numpy() for v in model.weights], "p": [v.numpy() for v in model.optimizer.variables]}
    return found


def agree(found, path, name):
    expected = dict(np.load(path))
    for letter, values in found.items():
        keys = sorted(key for key in expected if key == letter or (key[0] == letter and key[1:].isdigit()))
        assert len(keys) == len(values), letter
        if letter == "w" and name in exchange.NOT_THE_SAME_WEIGHTS:
            continue
        for key, value in zip(keys, values, strict=True):
            tolerance: dict[str, Any] = CLOSE
            if letter in "wo":
                tolerance = {"rtol": 0, "atol": 0}
            elif name in HALF:
                tolerance = {"rtol": 0, "atol": ROUNDINGS[HALF[name]] * np.abs(expected[key]).max()}
            np.testing.assert_allclose(value, expected[key], err_msg=key, **tolerance)


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """`(folder, what fastk's models do)`, after Keras has read and written in the folder."""
    folder = tmp_path_factory.mktemp("exchange")
    noted = {}
    trained_zoo.own(fastk)  # registers them
    fastk.utils.set_random_seed(3)

    def hand_over(model, name, x, t):
        model.save(folder / f"ours_{name}.keras")
        np.savez(folder / f"ours_{name}.npz", **name_arrays("x", x), **({} if t is None else name_arrays("t", t)))
        if name in exchange.OLD:
            model.save(folder / f"ours_{name}.h5")
        noted[name] = note(model, x, t)

    for name in exchange.GOLDEN:
        arrays = np.load(HERE / "golden" / f"{name}.npz")
        model = fastk.saving.load_model(HERE / "golden" / f"{name}.keras")
        x, t = ([arrays[key] for key in sorted(arrays) if key[0] == letter and key[1:].isdigit()] for letter in "xt")
        two = name == "two_branch"
        x = dict(zip("ab", x, strict=True)) if two else x[0]
        t = dict(zip(("label", "score"), t, strict=True)) if two else t[0]
        hand_over(model, name, x, t)
    for name in (*exchange.OPTIMIZERS, *exchange.TRAINED, *exchange.DESCRIBED):
        model, (x, t) = exchange.make(fastk, name), exchange.inputs_and_targets(name)
        for _ in range(3 if name not in exchange.DESCRIBED else 0):
            model.train_on_batch(x, t)
        hand_over(model, name, x, t)
    for name in exchange.WEIGHTS:
        fastk.utils.clear_session()
        model, (x, t) = exchange.make(fastk, name), exchange.inputs_and_targets(name)
        model.save_weights(folder / f"ours_{name}.weights.h5")
        for _ in range(2):  # the second save has other shards
            model.save_weights(folder / f"ours_{name}.weights.json", max_shard_size=20000 / 2**30)
        noted[f"{name}.weights.h5"] = noted[f"{name}.weights.json"] = note(model, x, t)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "keras_side.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, noted


@pytest.mark.parametrize("name", exchange.WHOLE)
def test_keras_goes_on_with_models_of_fastk(exchanged, name):
    folder, noted = exchanged
    agree(noted[name], folder / f"read_ours_{name}.npz", name)


@pytest.mark.parametrize("name", [name for name in exchange.WHOLE if name not in exchange.GOLDEN])
def test_models_of_keras_go_on(exchanged, name):
    """Those of `exchange.GOLDEN` do in `test_golden.py`."""
    folder, _ = exchanged
    model = fastk.saving.load_model(folder / f"theirs_{name}.keras")
    agree(note(model, *exchange.inputs_and_targets(name)), folder / f"theirs_{name}.npz", name)


@pytest.mark.parametrize("kind", ("weights.h5", "weights.json"))
@pytest.mark.parametrize("name", exchange.WEIGHTS)
def test_keras_loads_weights_of_fastk(exchanged, name, kind):
    folder, noted = exchanged
    agree(noted[f"{name}.{kind}"], folder / f"read_ours_{name}.{kind}.npz", name)


@pytest.mark.parametrize("kind", ("weights.h5", "weights.json"))
@pytest.mark.parametrize("name", exchange.WEIGHTS)
def test_weights_of_keras_are_loaded(exchanged, name, kind):
    folder, _ = exchanged
    model = exchange.make(fastk, name)
    model.load_weights(folder / f"theirs_{name}.{kind}")
    agree(note(model, *exchange.inputs_and_targets(name)), folder / f"theirs_weights_{name}.npz", name)


@pytest.mark.parametrize("name", exchange.OLD)
def test_keras_loads_old_files_of_fastk(exchanged, name):
    folder, noted = exchanged
    agree({letter: noted[name][letter] for letter in "yw"}, folder / f"read_ours_{name}.h5.npz", name)


@pytest.mark.parametrize("name", exchange.OLD)
def test_old_files_of_keras_go_on(exchanged, name):
    folder, _ = exchanged
    model = fastk.saving.load_model(folder / f"theirs_{name}.h5")
    agree(note(model, *exchange.inputs_and_targets(name)), folder / f"theirs_{name}.npz", name)
