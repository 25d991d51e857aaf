"""What Keras says about its applications, in a process of its own, on the torch backend.

python keras_side.py structure FILE       what each model consists of: the table `structure.json`
python keras_side.py outputs FOLDER       what models of `NUMBERS` compute, and files of the old format
python keras_side.py signatures FILE      the arguments of each function
"""

# ruff: noqa: E402 - what comes before the imports says what Keras imports itself

import inspect
import json
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds

import cases
import keras
import numpy as np
import torch
from keras.src import backend
from keras.src.applications import nasnet
from keras.src.initializers import random_initializers

del sys.modules["tensorflow"], sys.modules["jax"]  # their presence would make Keras use them


class AnyBackend:
    """Keras refuses NASNetMobile on torch for its published weights; what it is made of is the same."""

    def __getattr__(self, name):
        return (lambda: "any") if name == "backend" else getattr(backend, name)


nasnet.backend = AnyBackend()


def write_structure(path):
    def unset(self, shape, dtype=None, **kwargs):
        return torch.empty(tuple(shape))

    for cls in vars(random_initializers).values():
        if isinstance(cls, type) and "__call__" in vars(cls):
            cls.__call__ = unset
    rows = {name: cases.structure(cases.made(keras, name, {})) for name in cases.NAMES}
    lines = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write_outputs(folder):
    outputs = {}
    for name, options in cases.NUMBERS.items():
        model = cases.made(keras, name, options)
        cases.randomise(model)
        outputs[name] = np.asarray(model.predict_on_batch(cases.images(model)))
        if name in cases.SAVED:
            model.save(folder / f"{name}.h5")
    np.savez(folder / "outputs.npz", **outputs)


def write_signatures(path):
    found = {name: str(inspect.signature(getattr(keras.applications, name))) for name in cases.NAMES}
    modules = {
        name: sorted(n for n in dir(module) if not n.startswith("_"))
        for name, module in vars(keras.applications).items()
        if inspect.ismodule(module)
    }
    path.write_text(json.dumps({"functions": found, "modules": modules}))


if __name__ == "__main__":
    command = {"structure": write_structure, "outputs": write_outputs, "signatures": write_signatures}[sys.argv[1]]
    command(pathlib.Path(sys.argv[2]))
