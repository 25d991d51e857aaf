"""Rematerialization: the same numbers with less kept, and everything that a layer assigns assigned once."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers

rng = np.random.default_rng(0)


def saved_bytes(run):
    """The bytes that autograd keeps for the backward pass of `run()`."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x):
        outputs = run()
    return sum(kept), outputs


def test_a_function_keeps_its_inputs_alone():
    x = torch.randn(100, dtype=torch.float64, requires_grad=True)

    def f(x):
        for _ in range(5):
            x = torch.sin(torch.exp(-x * x))
        return x

    plain, expected = saved_bytes(lambda: f(x))
    less, found = saved_bytes(lambda: keras.remat(f)(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert plain >= 15 * x.nbytes and less == x.nbytes
    (wanted,) = torch.autograd.grad(expected.sum(), x)
    (given,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(given, wanted, rtol=0, atol=0)


class Block(layers.Layer):
    """Everything that changes state when it is called, and a sub-layer that learns of `training` from around."""

    def build(self, input_shape):
        self.norm, self.dropout, self.dense = layers.BatchNormalization(), layers.Dropout(0.5, seed=3), layers.Dense(4)
        self.norm.build(input_shape)
        self.dense.build(input_shape)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1.0)
        self.add_loss(0.1 * keras.ops.mean(x))
        return keras.activations.gelu(self.dense(self.dropout(self.norm(x))))


def trained(scope, steps=3):
    """A model after some steps of training, with what it shows."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    with scope or keras.RematScope(None):
        model = keras.Sequential([keras.Input((4,)), Block(name="block"), layers.Dense(1, name="last")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    data = np.random.default_rng(0)
    x, y = data.normal(size=(16, 4)).astype("float32"), data.normal(size=(16, 1)).astype("float32")
    losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
    return losses, model


@pytest.mark.parametrize(
    "scope",
    [
        keras.RematScope(),
        keras.RematScope("larger_than", output_size_threshold=20),
        keras.RematScope("list_of_layers", layer_names=["block"]),
        keras.RematScope("activations"),
    ],
    ids=lambda scope: scope.mode,
)
def test_training_is_the_same(scope):
    losses, model = trained(scope)
    expected_losses, expected = trained(None)
    assert losses == expected_losses
    assert float(model.get_layer("block").calls.numpy()) == 3
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_which_layers_it_is_for():
    def again(layer, shape=(2, 4)):
        """How many values of the output are computed in the backward pass."""
        x = torch.ones(shape)
        seen = []
        layer.register_forward_hook(lambda *_: None)  # by the whole way of a call
        plain = layer.call
        object.__setattr__(layer, "call", lambda x: (seen.append(1), plain(x))[1])
        layer(x).sum().backward()
        return len(seen) - 1

    with keras.RematScope("list_of_layers", layer_names=["named"]):
        assert again(layers.Dense(3, name="named")) == 1
        assert again(layers.Dense(3, name="other")) == 0
        with keras.RematScope(None):
            assert again(layers.Dense(3, name="named")) == 0
    with keras.RematScope("larger_than", output_size_threshold=8):
        assert again(layers.Dense(5)) == 1
        assert again(layers.Dense(4)) == 0
    assert again(layers.Dense(3)) == 0


def test_activations_alone():
    with keras.RematScope("activations"):
        layer = layers.Dense(64, activation="gelu")
    plain = layers.Dense(64, activation="gelu")
    x = np.ones((32, 8), "float32")
    layer(x)
    plain(x)
    plain.set_weights(layer.get_weights())
    less, found = saved_bytes(lambda: layer(x))
    more, expected = saved_bytes(lambda: plain(x))
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert less <= more and layer.activation is keras.activations.gelu


def test_a_plan_leaves_such_layers_whole():
    with keras.RematScope():
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), layers.ReLU()])
    assert "RematScope" in str(model.explain(2))


def test_bad_mode():
    with pytest.raises(ValueError, match=r"Invalid mode 'all'.*'full'"):
        keras.RematScope("all")
