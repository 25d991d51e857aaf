"""When a recorded step need not be recorded again: nothing that it is made of has changed, and all of it is fastk's."""

from typing import Any

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import capture, layers
from fastk.training.fingerprint import Fingerprint, Foreign, of_step


def make(loss: Any = "sparse_categorical_crossentropy", metrics=("accuracy",), optimizer="adam", extra=()):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12,))
    x = layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    for layer in extra:
        x = layer(x)
    x = layers.BatchNormalization()(layers.Dropout(0.3)(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 12)).astype("float32"), rng.integers(0, 3, 40)


def fit(model, **options):
    return model.fit(*data(), batch_size=8, verbose=0, **options).history["loss"]


@pytest.fixture
def recordings(monkeypatch):
    made = []
    record = capture.record

    def counting(*args):
        made.append(1)
        return record(*args)

    monkeypatch.setattr(capture, "record", counting)
    return made


def test_what_is_not_changed_is_not_recorded_again(recordings):
    model = make()
    fit(model)
    assert len(recordings) == 2
    for _ in range(3):
        fit(model)
        model.evaluate(*data(), batch_size=8, verbose=0)
        model.predict(data()[0], batch_size=8, verbose=0)
    assert len(recordings) == 2 + 2 + 2
    assert model._steps["train"].programs


def test_training_goes_on_as_op_by_op():
    def losses(**options):
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy", **options)
        return [fit(model) for _ in range(3)]

    assert losses() == losses(run_eagerly=True)


CHANGES = {
    "a rate": lambda model: setattr(model.layers[2], "rate", 0.9),
    "a regularizer": lambda model: setattr(model.layers[1].kernel.regularizer, "l2", 0.5),
    "an activation": lambda model: setattr(model.layers[1], "activation", keras.activations.tanh),
    "frozen": lambda model: setattr(model.layers[1], "trainable", False),
    "the place of a weight": lambda model: setattr(model.layers[1].kernel.value, "data", torch.zeros(12, 16)),
    "a setting": lambda model: keras.config.set_epsilon(1e-3),
    "an attribute of the loss": lambda model: setattr(model._compile_loss._single.loss, "reduction", "sum"),
    "the scale of the loss": lambda model: setattr(model.optimizer, "loss_scale_factor", 2.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.filterwarnings("ignore:A layer's `trainable`", "ignore:Gradients do not exist")
def test_a_change_between_fits_counts(change):
    epsilon = keras.config.epsilon()

    def losses(eagerly):
        model = make()
        model.run_eagerly = eagerly
        try:
            fit(model)
            before = Fingerprint(model)
            change(model)
            assert before != Fingerprint(model)
            return [fit(model), fit(model)]
        finally:
            keras.config.set_epsilon(epsilon)

    assert losses(False) == losses(True)


def test_a_class_that_is_patched_counts(monkeypatch):
    model = make()
    before = Fingerprint(model)
    monkeypatch.setattr(layers.Dense, "call", lambda self, inputs, training=None: inputs)
    assert of_step(model) != before


class Own(layers.Layer):
    def call(self, inputs):
        return inputs


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


FOREIGN = {
    "a layer": lambda: make(extra=[Own()]),
    "a function in a layer": lambda: make(extra=[layers.Lambda(lambda x: x * 2)]),
    "a loss": lambda: make(own_loss),
    "a metric": lambda: make(metrics=[own_loss]),
    "an activation": lambda: make(extra=[layers.Dense(4, activation=lambda x: x * 2)]),
    "a regularizer": lambda: make(extra=[layers.Dense(4, kernel_regularizer=lambda x: x.sum())]),
}


@pytest.mark.parametrize("build", FOREIGN.values(), ids=FOREIGN)
def test_code_of_the_users_own_is_looked_at_again(build, recordings):
    model = build()
    with pytest.raises(Foreign, match=__name__.split(".")[-1]):
        Fingerprint(model)
    assert of_step(model) is None
    fit(model)
    fit(model)
    assert len(recordings) == 3


def test_a_method_in_the_place_of_a_layers_own_is_foreign():
    model = make()
    model.layers[1].call = lambda inputs: inputs
    assert of_step(model) is None
