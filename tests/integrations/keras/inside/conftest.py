"""What the tests inside Keras share: two models that begin the same, one of them accelerated."""

# ruff: noqa: E402 - what comes before the imports says what Keras imports itself

import importlib
import os
import sys
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds

import numpy as np
import pytest

import fastk.integrations.keras as inside

keras: Any = importlib.import_module("keras")

del sys.modules["tensorflow"], sys.modules["jax"]  # their presence would make Keras use them

# float32 sums of at most some hundred terms in another order, through a few layers and a few steps.
CLOSE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}


class Steps(keras.callbacks.Callback):
    """Keeps the logs of each step."""

    def on_train_begin(self, logs=None):
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(logs)


def arrays(value):
    """The numbers in logs, lists, dicts and arrays, flat, names sorted."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in arrays(part)]
    return [keras.ops.convert_to_numpy(value)]


class Pair:
    """Keras's model, and one like it that is accelerated.

    Args:
        make: returns a compiled model.
        options: of `accelerate`.
    """

    def __init__(self, make, **options):
        self.models = []
        for accelerated in (False, True):
            keras.utils.clear_session()
            keras.utils.set_random_seed(0)
            model = make()
            if accelerated:
                self.handle = inside.accelerate(model, **options)
            self.models.append(model)
        if self.models[0].built:
            self.models[1].set_weights(self.models[0].get_weights())

    def same(self, call, close=None):
        """Both models' results of `call(model)`, which must agree; returns the accelerated one's."""
        found = []
        for model in self.models:
            keras.utils.set_random_seed(1)
            found.append(call(model))
        plain, own = map(arrays, found)
        assert len(plain) == len(own) > 0
        for a, b in zip(plain, own, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(b, a, **(close or CLOSE))
        return found[1]

    def fit(self, *args, close=None, **kwargs):
        """Trains both; the logs of each step and of each epoch must agree. Returns the accelerated one's history."""

        callbacks = kwargs.pop("callbacks", [])

        def train(model):
            steps = Steps()
            history = model.fit(*args, verbose=0, callbacks=[*callbacks, steps], **kwargs)
            return [history.history, steps.logs]

        history = self.same(train, close)[0]
        self.same_state(close)
        return history

    def same_state(self, close=None):
        """The weights and the optimizer's variables must agree."""
        self.same(lambda model: [model.get_weights(), *(v.numpy() for v in model.optimizer.variables)], close)

    def replayed(self, *names):
        """The named steps must be replayed."""
        assert self.handle.session is not None
        steps: Any = self.handle.session.steps
        for name in names:
            assert steps[name].programs and not steps[name].reasons, (name, steps[name].reasons)


@pytest.fixture
def pair():
    return Pair


@pytest.fixture
def data():
    """Makes `(x, y)`: floats of the given shapes, and classes."""

    def make(*shapes, samples=40, classes=3, seed=0):
        rng = np.random.default_rng(seed)
        x = [rng.normal(size=(samples, *shape)).astype("float32") for shape in shapes]
        return x[0] if len(x) == 1 else x, rng.integers(0, classes, samples)

    return make


@pytest.fixture
def model_of():
    """Makes a compiled model of three layers, `a`, `b` and `c`, of which `b` drops out."""

    def make(optimizer="sgd", loss="sparse_categorical_crossentropy", rate=0.0, **options):
        layers = keras.layers
        hidden = [layers.Dense(8, activation="relu", name="a"), layers.Dropout(rate, name="b")]
        out = layers.Dense(3, activation="softmax", name="c")
        model = keras.Sequential([keras.Input((6,)), *hidden, out], name="net")
        model.compile(optimizer, loss, **{"metrics": ["accuracy"], **options})
        return model

    return make
