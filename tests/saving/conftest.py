"""What the tests of saving share."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

import fastk

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))  # the modules beside, which programs here import too
collect_ignore = ["keras_side.py", "keras_text.py"]  # import Keras


@pytest.fixture(scope="session")
def golden():
    return HERE / "golden"


@pytest.fixture(scope="session")
def zoo():
    import zoo

    return zoo


@pytest.fixture
def model():
    """A small model that has been trained, so that its optimizer has a state."""
    layers = fastk.layers
    model = fastk.Sequential([fastk.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(2)], name="small")
    model.compile("adam", "mse")
    x, y = data()
    for _ in range(2):
        model.train_on_batch(x, y)
    return model


def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(8, 3)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")


@pytest.fixture
def xy():
    return data()
