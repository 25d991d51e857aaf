"""Functional models: topology, inputs and outputs in any structure, shared and nested layers, configuration."""

import warnings

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def test_branches_meet():
    x = keras.Input((32,), name="x")
    a = layers.Dense(64, activation="relu")(x)
    b = layers.Dense(32, activation="relu")(x)
    model = keras.Model(x, layers.Dense(1)(layers.concatenate([a, b])))
    assert model.count_params() == 32 * 64 + 64 + 32 * 32 + 32 + 96 + 1
    assert model(arrays((3, 32))[0]).shape == (3, 1)
    assert model.output_shape == (None, 1) and model.input_names == ["x"]


def test_several_inputs_and_outputs_as_lists_and_dicts():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    hidden = layers.Concatenate()([layers.Dense(4)(a), layers.Dense(4)(b)])
    outputs = {"p": layers.Dense(1, name="p")(hidden), "q": layers.Dense(2, name="q")(hidden)}
    x, y = arrays((5, 3), (5, 2))
    by_list = keras.Model([a, b], outputs)
    by_dict = keras.Model({"a": a, "b": b}, list(outputs.values()))
    first = by_list([x, y])
    assert set(first) == {"p", "q"} and first["q"].shape == (5, 2)
    second = by_dict({"b": y, "a": x})
    np.testing.assert_array_equal(first["p"].numpy(), second[0].numpy())
    np.testing.assert_array_equal(by_list({"a": x, "b": y})["q"].numpy(), second[1].numpy())
    assert by_list.output_names == ["p", "q"]


def test_a_shared_layer_is_counted_once_and_called_twice():
    a, b = keras.Input((3,)), keras.Input((3,))
    shared = layers.Dense(4)
    model = keras.Model([a, b], shared(a) - shared(b))
    assert len(model.weights) == 2
    x, y = arrays((2, 3), (2, 3))
    np.testing.assert_allclose(model([x, y]).numpy(), (x - y) @ model.get_weights()[0], atol=1e-6)


def test_a_model_from_intermediate_tensors_shares_the_layers():
    x = keras.Input((4,))
    hidden = layers.Dense(3, activation="tanh", name="hidden")(x)
    model = keras.Model(x, layers.Dense(1, name="out")(hidden))
    head = keras.Model(model.get_layer("hidden").output, model.output)
    data = arrays((2, 4))[0]
    middle = keras.Model(x, hidden)(data)
    np.testing.assert_allclose(head(middle).numpy(), model(data).numpy(), rtol=1e-6)
    assert head.weights[0] is model.get_layer("out").kernel


def test_training_reaches_layers_inside_nested_models():
    inner = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5)])
    x = keras.Input((50,))
    model = keras.Model(x, inner(x))
    data = np.ones((4, 50), "float32")
    assert (model(data, training=True).numpy() == 0).any()
    np.testing.assert_array_equal(model(data, training=False).numpy(), data)
    np.testing.assert_array_equal(model(data).numpy(), data)


def test_a_call_overrides_the_training_that_a_layer_was_recorded_with():
    x = keras.Input((50,))
    model = keras.Model(x, layers.Dropout(0.5)(x, training=True))
    data = np.ones((4, 50), "float32")
    assert (model(data).numpy() == 0).any()
    np.testing.assert_array_equal(model.predict(data, verbose=0), data)


def test_call_takes_a_dict_without_a_context():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"b": b, "a": a}, a - b)
    np.testing.assert_array_equal(model.call({"a": np.ones((1, 2)), "b": np.zeros((1, 2))}), np.ones((1, 2)))


def test_operations_on_symbolic_tensors_are_part_of_the_model():
    x = keras.Input((3,))
    model = keras.Model(x, keras.ops.sin(x * 2.0 + 1.0)[:, :2])
    data = arrays((2, 3))[0]
    np.testing.assert_allclose(model(data).numpy(), np.sin(data * 2 + 1)[:, :2], rtol=1e-6)
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_allclose(again(data).numpy(), np.sin(data * 2 + 1)[:, :2], rtol=1e-6)


def test_variable_length_dimensions_stay_unknown():
    x = keras.Input((None, 10))
    y = layers.Dense(4)(x)
    assert y.shape == (None, None, 4)
    model = keras.Model(x, y)
    for length in (1, 7):
        assert model(np.ones((2, length, 10))).shape == (2, length, 4)


def test_missing_last_axis_is_added_and_dtypes_are_cast():
    x = keras.Input((5, 1))
    model = keras.Model(x, layers.Flatten()(x))
    assert model(np.ones((2, 5), "int64")).dtype is torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(np.ones((2, 3))), "expects 2 input"),
        (lambda m: m([np.ones((2, 3)), np.ones((2, 3, 3))]), "Invalid input shape|incompatible"),
        (lambda m: m([np.ones((2, 3)), np.ones((2, 5))]), "incompatible"),
        (lambda m: m({"a": np.ones((2, 3))}), "Missing data for input"),
        (lambda m: m.get_layer("nothing"), "No such layer: nothing. Existing layers"),
        (lambda m: m.get_layer(), "name or layer index"),
    ],
)
def test_wrong_inputs_are_explained(call, message):
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], layers.Concatenate()([a, b]))
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call(model)


def test_a_disconnected_graph_is_explained():
    a, b = keras.Input((3,)), keras.Input((3,))
    with pytest.raises(ValueError, match="Graph disconnected"):
        keras.Model(a, layers.Add()([a, b]))


def test_configuration_restores_shared_and_nested_layers():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    shared = layers.Dense(4, name="shared")
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Dense(2)(inner_input), name="inner")
    model = keras.Model({"a": a, "b": b}, [inner(shared(a)), inner(shared(b))], name="siamese")
    again = keras.Model.from_config(model.get_config())
    assert again.name == "siamese" and len(again.weights) == len(model.weights) == 4
    again.set_weights(model.get_weights())
    data = dict(zip("ab", arrays((2, 3), (2, 3)), strict=True))
    for mine, theirs in zip(again(data), model(data), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_a_subclass_that_hands_on_inputs_and_outputs():
    class Custom(keras.Model):
        def train_step(self, data):
            return {"seen": 1.0}

    x = keras.Input((3,))
    model = Custom(x, layers.Dense(1)(x))
    assert isinstance(model, Custom) and model.output_shape == (None, 1)
    model.compile("sgd", "mse")
    assert model.fit(np.ones((4, 3)), np.ones(4), verbose=0).history == {"seen": [1.0]}


def test_clone_has_new_weights_and_the_same_shape():
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(2, name="d")(x))
    clone = keras.models.clone_model(model)
    assert clone.get_layer("d") is not model.get_layer("d")
    assert [v.shape for v in clone.weights] == [v.shape for v in model.weights]
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])
    wide = keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "units": 5})
    )
    assert wide.output_shape == (None, 5)


def test_deep_graphs_need_no_deep_stack():
    x = keras.Input((2,))
    y = x
    for _ in range(1500):
        y = y + 1.0
    assert float(keras.Model(x, y)(np.zeros((1, 2), "float32"))[0, 0]) == 1500.0
