"""One training step of each reference model through Triton's kernels, call by call, for `traffic`.

It needs layers and models, which kernels know nothing of: the command alone imports this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastk import config, layers, models, utils
from fastk.kernels.triton_runtime import pretend_multiprocessors
from fastk.kernels.verify.traffic import Row, recorded_calls

BATCH = 32
MULTIPROCESSORS = 132  # of an H200: tiles are chosen by them


@dataclass(frozen=True)
class ReferenceModel:
    """A model by its layers, and the shape of one example; it sorts examples into 10 classes."""

    title: str
    shape: tuple[int, ...]
    layers: Callable[[], list]


MODELS = {
    "mlp": ReferenceModel(
        f"the MLP 784-128-10 with dropout, batch {BATCH}",
        (784,),
        lambda: [layers.Dense(128, activation="relu"), layers.Dropout(0.2), layers.Dense(10, activation="softmax")],
    ),
    "cnn": ReferenceModel(
        f"the MNIST CNN, batch {BATCH}",
        (28, 28, 1),
        lambda: [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
    ),
    "lstm": ReferenceModel(
        f"LSTM(64) over 50 steps of 32 numbers, batch {BATCH}",
        (50, 32),
        lambda: [layers.LSTM(64), layers.Dense(10, activation="softmax")],
    ),
}


def step(name: str) -> list[Row]:
    """The calls of the second training step of a model, with Adam in float32; the first builds its state."""
    utils.clear_session(free_memory=False)
    utils.set_random_seed(0)
    reference = MODELS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, *reference.shape)).astype("float32")
    y = rng.integers(0, 10, BATCH)
    before = config.kernels()
    config.set_kernels("triton")
    try:
        with recorded_calls() as rows, pretend_multiprocessors(MULTIPROCESSORS):
            model = models.Sequential([layers.Input(reference.shape), *reference.layers()])
            model.compile("adam", "sparse_categorical_crossentropy")
            model.train_on_batch(x, y)
            rows.clear()
            model.train_on_batch(x, y)
            return list(rows)
    finally:
        config.set_kernels(before)
