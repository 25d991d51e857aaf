"""Subclassed models: building, weights, names, custom steps."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers


class Net(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation="relu")
        self.rest = [layers.Dense(2, name=f"rest_{i}") for i in range(2)]
        self.drop = layers.Dropout(0.5)

    def call(self, inputs, training=False):
        x = self.drop(self.first(inputs), training=training)
        return sum(layer(x) for layer in self.rest)


def test_layers_in_attributes_and_lists_are_found():
    model = Net()
    assert {layer.name for layer in model.layers} == {model.first.name, "rest_0", "rest_1", model.drop.name}
    assert model(np.ones((1, 4), "float32")).shape == (1, 2)
    assert len(model.weights) == 6 and len(list(model.parameters())) == 6
    assert model.first.kernel.path == f"{model.name}/{model.first.name}/kernel"


def test_build_makes_the_weights_without_data():
    model = Net()
    with pytest.raises(ValueError, match="isn't built"):
        model.count_params()
    model.build((None, 4))
    assert model.built and model.count_params() == 4 * 3 + 3 + 2 * (3 * 2 + 2)


def test_configuration_is_automatic_for_plain_arguments():
    model = Net(units=7)
    assert model.get_config()["units"] == 7
    assert Net.from_config(model.get_config()).units == 7


def test_what_is_not_serializable_says_so():
    class Odd(keras.Model):
        def __init__(self, function):
            super().__init__()
            self.function = function

    with pytest.raises(NotImplementedError, match="implement `get_config\\(\\)`"):
        Odd(np.zeros(3)).get_config()


def test_calling_super_late_is_allowed_and_not_calling_it_is_explained():
    class Late(keras.Model):
        def __init__(self):
            self.dense = layers.Dense(1)
            super().__init__()

        def call(self, inputs):
            return self.dense(inputs)

    late = Late()
    assert late(np.ones((1, 2))).shape == (1, 1) and len(late.weights) == 2

    class Never(keras.Model):
        def __init__(self):
            self.dense = layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs)

    with pytest.raises(RuntimeError, match="forgot to call `super"):
        Never()(np.ones((1, 2)))


def test_a_custom_train_step_with_torch_gradients():
    class Custom(Net):
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="my_loss")

        @property
        def metrics(self):
            return [self.tracker]

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            loss = keras.ops.mean((self(x, training=True) - y) ** 2)
            loss.backward()
            variables = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
            self.tracker.update_state(loss)
            return {"my_loss": self.tracker.result()}

    keras.utils.set_random_seed(0)
    model = Custom()
    model.compile(optimizer=keras.optimizers.SGD(0.05))
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    history = model.fit(x, x[:, :2], epochs=10, verbose=0).history
    assert list(history) == ["my_loss"] and history["my_loss"][-1] < history["my_loss"][0]


def test_get_and_set_weights_check_shapes():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="length 1, but the layer was expecting 2"):
        model.set_weights([np.ones((4, 3))])
    with pytest.raises(ValueError, match=r"shape \(4, 3\).*\(3, 4\)"):
        model.set_weights([np.ones((3, 4)), np.ones(3)])
    model.set_weights([np.full((4, 3), 2.0), np.ones(3)])
    np.testing.assert_array_equal(model(np.ones((1, 4), "float32")).numpy(), np.full((1, 3), 9.0))


def test_a_model_initialised_through_two_bases_is_whole():
    class Both(keras.Model):
        def __init__(self):
            layers.Layer.__init__(self)
            keras.Model.__init__(self)
            self.inner = layers.Dense(2)

        def call(self, x):
            return self.inner(x)

    model = Both()
    assert model(np.ones((1, 3), "float32")).shape == (1, 2) and len(model.weights) == 2
