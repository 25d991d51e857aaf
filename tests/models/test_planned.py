"""When a plan stands for the call of a model, when it does not, and that it follows every change."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.graph import Untraceable
from fastk.graph.plan import Plan
from fastk.models.model import Model
from fastk.scopes import internal
from fastk.tensor import set_keras_mask


@pytest.fixture
def planned(monkeypatch):
    """Called with a model, inputs and whether to train: the outputs, and whether a plan made them."""
    runs = []
    run = Plan.__call__
    monkeypatch.setattr(Plan, "__call__", lambda self, *args: runs.append(self) or run(self, *args))

    def outputs(model, x, training=False):
        runs.clear()
        with internal(), torch.no_grad():
            made = model._run_planned(x, training)
        return made, bool(runs)

    return outputs


def small(*stacked, shape=(3,)):
    model = keras.Sequential([layers.Input(shape), *(stacked or (layers.Dense(4), layers.ReLU(), layers.Dense(2)))])
    model.compile("sgd", "mse")
    return model


X = torch.linspace(-1.0, 1.0, 6).view(2, 3)


def agree(planned, model, x: Any = X, by_plan=True):
    made, by = planned(model, x)
    with internal(), torch.no_grad():
        expected = model(x, training=False)
    assert by is by_plan
    np.testing.assert_array_equal(made, expected)


def test_steps_are_run_by_the_plan(planned):
    model = small()
    agree(planned, model)
    assert model.plan() is model.plan()


def test_run_eagerly_is_never_planned(planned):
    model = small()
    model.compile("sgd", "mse", run_eagerly=True)
    agree(planned, model, by_plan=False)


def test_changes_of_layers_are_followed(planned):
    model = small(layers.Dense(4), layers.Activation("relu", name="act"), layers.Dropout(0.5, name="drop"))
    agree(planned, model)
    model.get_layer("act").activation = keras.activations.tanh
    agree(planned, model)
    model.get_layer("drop").rate = 0.0
    made, _ = planned(model, X, training=True)
    np.testing.assert_array_equal(made, model(X, training=False).detach())
    model.add(layers.Dense(1))
    agree(planned, model)
    model.pop()
    agree(planned, model)
    model.layers[0].set_weights([np.ones((3, 4)), np.ones(4)])
    agree(planned, model)
    model.double()
    agree(planned, model, X)


def test_a_rate_that_becomes_zero_and_back_drops_again(planned):
    model = small(layers.Dropout(0.5, name="drop"), shape=(100,))
    x = torch.ones(1, 100)
    for rate, dropped in ((0.5, True), (0.0, False), (0.25, True)):
        model.get_layer("drop").rate = rate
        assert bool((planned(model, x, training=True)[0] == 0).any()) is dropped


def test_hooks_are_called_from_when_they_are_set(planned):
    model = small()
    agree(planned, model)
    seen = []
    handle = model.layers[0].register_forward_hook(lambda module, args, output: seen.append(module.name))
    agree(planned, model)
    assert len(seen) == 2  # by the plan, which calls the layer, and by the model
    handle.remove()
    agree(planned, model)
    assert len(seen) == 2
    handle = model.register_forward_pre_hook(lambda module, args: seen.append("model"))
    agree(planned, model, by_plan=False)
    assert seen[2:] == ["model", "model"]
    with pytest.raises(Untraceable, match="hooks"):
        model.plan()
    handle.remove()
    agree(planned, model)


def test_global_hooks_are_called(planned):
    model = small()
    agree(planned, model)
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        agree(planned, model, by_plan=False)
    finally:
        handle.remove()
    assert model.layers[0] in seen
    agree(planned, model)


def test_a_copy_has_weights_of_its_own(planned):
    model = small()
    agree(planned, model)
    other = copy.deepcopy(model)
    other.set_weights([w + 1.0 for w in other.get_weights()])
    agree(planned, other)
    agree(planned, model)
    assert other.plan() is not model.plan()


class OwnCall(Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class OwnFunctional(Model):
    def call(self, x, training=None):
        return super().call(x, training=training) + 1.0


def test_a_call_of_the_users_own_is_called(planned):
    model = OwnCall()
    model(X)
    agree(planned, model, by_plan=False)
    with pytest.raises(Untraceable, match=r"OwnCall has a `call\(\)` of its own"):
        model.plan()
    x = layers.Input((3,))
    agree(planned, OwnFunctional(x, layers.Dense(2)(x)), by_plan=False)
    model = small()
    agree(planned, model)
    model.call = lambda inputs, training=None: inputs
    with pytest.raises(Untraceable, match="replaced"):
        model.plan()


def test_a_stack_is_planned_once_it_is_built(planned):
    model = keras.Sequential([layers.Dense(4), layers.ReLU()])
    assert planned(model, X)[1] is False
    agree(planned, model)


class Noting(layers.Layer):
    """Adds a loss, and reads what it is told about training."""

    def call(self, x, training=None):
        self.add_loss(x.square().mean())
        self.told = training
        return x


def test_losses_of_layers_and_what_they_are_told_are_those_of_a_call():
    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    losses = []
    for eagerly in (True, False):
        keras.utils.set_random_seed(0)
        model = small(layers.Dense(4), layers.ReLU(), Noting(), layers.Dense(2, activity_regularizer="l2"))
        model.run_eagerly = eagerly
        losses.append(model.fit(x, y, epochs=3, batch_size=4, verbose=0).history["loss"])
        assert model.layers[2].told is True
        losses.append(model.evaluate(x, y, verbose=0))
        assert model.layers[2].told is False
    assert losses[:2] == losses[2:]


def two_inputs(structure):
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    given = {"list": [a, b], "tuple": (a, b), "dict": {"a": a, "b": b}}[structure]
    return keras.Model(given, layers.Concatenate()([layers.Dense(2)(b), a]))


@pytest.mark.parametrize("structure", ["list", "tuple", "dict"])
def test_several_inputs(planned, structure):
    model = two_inputs(structure)
    a, b = X, torch.ones(2, 2)
    agree(planned, model, {"list": [a, b], "tuple": (a, b), "dict": {"b": b, "a": a}}[structure])
    if structure != "dict":
        agree(planned, model, {"b": b, "a": a})
    agree(planned, model, {"a": a.double(), "b": b} if structure == "dict" else [a.double(), b])


def test_inputs_that_a_model_makes_its_own(planned):
    image = small(layers.Flatten(), layers.Dense(2), shape=(4, 4, 1))
    agree(planned, image, torch.arange(32, dtype=torch.uint8).view(2, 4, 4, 1))
    agree(planned, image, torch.ones(2, 4, 4))
    agree(planned, image, torch.ones(2, 4, 4, 1, dtype=torch.float64))
    agree(planned, image, torch.ones(0, 4, 4, 1))
    with pytest.raises(ValueError, match="dense"):
        planned(image, torch.ones(2, 5, 4, 1))


def test_a_mask_of_the_inputs_is_for_the_layers(planned):
    model = small(layers.GRU(2, return_sequences=True), layers.GRU(2), shape=(4, 3))
    x = torch.ones(2, 4, 3)
    agree(planned, model, x)
    model.supports_masking = True
    set_keras_mask(x, torch.tensor([[True, True, False, False]] * 2))
    agree(planned, model, x, by_plan=False)


def test_a_layer_that_gives_another_dtype_than_it_says(planned):
    class Wide(layers.Layer):
        def call(self, x):
            return x if x.is_meta else x.double()

        def compute_output_shape(self, input_shape):
            return input_shape

    agree(planned, small(Wide(), layers.Dense(2)))


def test_it_is_as_it_is_inside_another_call(planned):
    inner = small()
    x = layers.Input((3,))
    outer = keras.Model(x, inner(inner.layers[0](x)[:, :3]))
    agree(planned, outer)


def test_outputs_of_a_step_called_by_the_user_can_be_read():
    assert small().predict_step(X).numpy().shape == (2, 2)
