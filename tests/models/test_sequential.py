"""`Sequential`: building, shapes, weights, names, configuration."""

import numpy as np
import pytest

import fastk as keras
from fastk import layers


def test_builds_at_once_where_the_input_is_declared():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)], name="m")
    assert model.built
    assert model.input_shape == (None, 4) and model.output_shape == (None, 2)
    assert [v.path for v in model.weights] == ["m/dense/kernel", "m/dense/bias", "m/dense_1/kernel", "m/dense_1/bias"]
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    assert model.count_params() == 4 * 3 + 3 + 3 * 2 + 2


def test_builds_at_the_first_call_where_it_is_not():
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    assert not model.built and model.weights == []
    assert model(np.ones((5, 4), "float32")).shape == (5, 2)
    assert model.built and model.input_shape == (5, 4)


def test_output_is_the_composition_of_the_layers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    k1, b1, k2, b2 = (w.astype("float64") for w in model.get_weights())
    expected = np.maximum(x @ k1 + b1, 0) @ k2 + b2
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_add_and_pop():
    model = keras.Sequential()
    model.add(keras.Input((4,)))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    assert model.pop().units == 2
    assert model.output_shape == (None, 3)
    assert len(list(model.parameters())) == 2
    model.add(layers.Dense(7))
    assert model(np.ones((1, 4))).shape == (1, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")]), "unique names"),
        (lambda: keras.Sequential(["relu"]), "Only instances of `keras.Layer`"),
        (lambda: keras.Sequential([keras.Input((3,)), keras.Input((3,))]), "already been configured"),
        (lambda: keras.Sequential([]).build((None, 3)), "no layers"),
        (lambda: keras.Sequential([keras.Input((3,)), layers.Dense(1)]).build((None, 4)), "already been configured"),
        (lambda: keras.Sequential([layers.Dense(1)]).output_shape, "no defined output shape"),
    ],
)
def test_wrong_use_is_explained(make, message):
    with pytest.raises((ValueError, AttributeError), match=message):
        make()


def test_nested_models_share_their_weights():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="inner")
    outer = keras.Sequential([keras.Input((4,)), inner, layers.Dense(2)], name="outer")
    assert len(outer.weights) == 4
    assert outer.weights[0] is inner.weights[0]
    x = np.ones((1, 4), "float32")
    before = outer(x).numpy()
    inner.set_weights([w * 0 for w in inner.get_weights()])
    assert not np.allclose(before, outer(x).numpy())


def test_configuration_makes_the_same_architecture():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dropout(0.5)], name="m")
    again = keras.Sequential.from_config(model.get_config())
    assert again.name == "m" and [type(a) for a in again.layers] == [type(a) for a in model.layers]
    again.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
    assert keras.models.model_from_json(model.to_json()).count_params() == model.count_params()


def test_layers_run_one_by_one_where_no_shape_can_be_inferred():
    class Opaque(layers.Layer):
        def call(self, inputs):
            return inputs * 2

        def compute_output_spec(self, inputs):
            raise NotImplementedError("no shape before the data")

    model = keras.Sequential([layers.Dense(3), Opaque()])
    assert model(np.ones((2, 4), "float32")).shape == (2, 3)


def test_trainable_reaches_every_layer():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.trainable = False
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 4
    assert not any(p.requires_grad for p in model.parameters())
    model.layers[1].trainable = True
    model.trainable = True
    assert len(model.trainable_weights) == 4


def test_a_torch_module_like_any_other():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    assert sorted(model.state_dict()) == ["dense.bias", "dense.kernel", "dense_1.bias", "dense_1.kernel"]
    seen = []
    model.layers[0].register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    model(np.ones((2, 4), "float32"))
    assert seen == [(2, 3)]
    model.double()
    assert model.weights[0].dtype == "float64" and model.weights[0].value.dtype.is_floating_point


def test_a_layer_that_takes_more_than_its_input_is_refused():
    class Two(layers.Layer):
        def call(self, x, other):
            return x + other

    with pytest.raises(ValueError, match=r"single required positional argument.*Layer Two has \['x', 'other'\]"):
        keras.Sequential([layers.Input((2,)), Two()])
