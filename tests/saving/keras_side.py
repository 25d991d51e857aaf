"""What Keras does in `test_exchange.py`, in a process of its own: `python keras_side.py FOLDER`, on the torch backend.

It loads what fastk saved into the folder, and saves models of its own into it. Of each it notes, in NAME.npz,
predictions, weights, optimizer variables, losses and metrics; the loss and the predictions after one more step of
training; and weights and optimizer variables after two further ones.
"""

# ruff: noqa: E402 - what comes before the imports says what Keras imports itself

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds

import exchange
import keras
import numpy as np
import trained_zoo

del sys.modules["tensorflow"], sys.modules["jax"]  # their presence would make Keras use them


def flat(value):
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def note(model, x, t, path):
    """Writes down what the model does; a later process compares it."""
    arrays = {f"y{i}": np.asarray(v) for i, v in enumerate(flat(model.predict_on_batch(x)))}
    arrays |= {f"w{i:03}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.weights)}
    if t is not None:
        arrays |= {f"o{i:03}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.optimizer.variables)}
        arrays["loss"] = np.asarray(flat(model.test_on_batch(x, t)))
        if model.name.removeprefix("with_") not in exchange.NOT_CONTINUED:
            arrays["nloss"] = np.asarray(flat(model.train_on_batch(x, t)))
            arrays |= {f"n{i}": np.asarray(v) for i, v in enumerate(flat(model.predict_on_batch(x)))}
            for _ in range(2):
                model.train_on_batch(x, t)
            arrays |= {f"c{i:03}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.weights)}
            arrays |= {f"p{i:03}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.optimizer.variables)}
    np.savez(path, **arrays)  # type: ignore[arg-type] - none is called allow_pickle


def given(path):
    """`(x, t)` that lie beside a file of fastk's."""
    arrays = dict(np.load(path))

    def structure(letter):
        keys = [key for key in arrays if key[0] == letter]
        values = [arrays[key] for key in keys]
        named = {key[2:]: value for key, value in zip(keys, values, strict=True)}
        return named if any(named) else values[0] if len(values) == 1 else values or None

    return structure("x"), structure("t")


def main(folder):
    trained_zoo.own(keras)
    for path in sorted(folder.glob("ours_*.keras")):
        x, t = given(path.with_suffix(".npz"))
        note(keras.saving.load_model(path), x, t, folder / f"read_{path.stem}.npz")
    for path in sorted(set(folder.glob("ours_*.h5")) - set(folder.glob("*.weights.h5")) - set(folder.glob("*_0*.h5"))):
        x, _ = given(path.with_suffix(".npz"))
        # Without a step: Keras 3.15 builds the optimizer of such a file for no variables, and cannot train on.
        note(keras.saving.load_model(path), x, None, folder / f"read_{path.name}.npz")
    for path in sorted(folder.glob("ours_*.weights.*")):
        if path.name.endswith((".weights.h5", ".weights.json")) and "_0000" not in path.name:
            name = path.name.split(".")[0].removeprefix("ours_")
            keras.utils.clear_session()
            model = exchange.make(keras, name)
            model.load_weights(path)
            note(model, *exchange.inputs_and_targets(name), folder / f"read_{path.name}.npz")
    keras.utils.set_random_seed(3)
    for name in exchange.WEIGHTS:
        model = exchange.make(keras, name)
        model.set_weights([np.random.normal(0, 0.3, w.shape) for w in model.get_weights()])
        model.save_weights(folder / f"theirs_{name}.weights.h5")
        model.save_weights(folder / f"theirs_{name}.weights.json", max_shard_size=20000 / 2**30)
        note(model, *exchange.inputs_and_targets(name), folder / f"theirs_weights_{name}.npz")
    for name in (*exchange.OPTIMIZERS, *exchange.TRAINED, *exchange.DESCRIBED):
        model, (x, t) = exchange.make(keras, name), exchange.inputs_and_targets(name)
        for _ in range(3 if name not in exchange.DESCRIBED else 0):
            model.train_on_batch(x, t)
        model.save(folder / f"theirs_{name}.keras")
        if name in exchange.OLD:
            model.save(folder / f"theirs_{name}.h5")
        note(model, x, t, folder / f"theirs_{name}.npz")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
