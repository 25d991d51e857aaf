"""Keras's side for layers of text, which need TensorFlow: `python keras_text.py FOLDER`.

Saves `text.keras` and what the model does into the folder; and loads `ours_text.keras`, where there is one, and notes
what that does as `read_text.npz`.
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import text_model


def note(model, path):
    x, t = text_model.data()
    inputs = {key: keras.ops.convert_to_tensor(value) for key, value in x.items()}
    arrays = {"y": np.asarray(model(inputs)), "loss": np.asarray(model.evaluate(inputs, t, verbose=0))}
    arrays |= {f"o{i:03}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
    arrays["nloss"] = np.asarray(model.train_on_batch(inputs, t))
    arrays |= {f"c{i:03}": np.asarray(v) for i, v in enumerate(model.trainable_weights)}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def main(folder):
    keras.utils.set_random_seed(4)
    x, t = text_model.data()
    model = text_model.make(keras)
    for _ in range(2):
        model.train_on_batch({key: keras.ops.convert_to_tensor(value) for key, value in x.items()}, t)
    model.save(folder / "text.keras")
    note(model, folder / "text.npz")
    if (folder / "ours_text.keras").exists():
        note(keras.saving.load_model(folder / "ours_text.keras"), folder / "read_text.npz")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
