"""Objects described as before Keras v3's files."""

import pytest

import fastk
from fastk.utils.legacy import deserialize_keras_object, serialize_keras_object


def test_there_and_back():
    layer = fastk.layers.Dense(3, kernel_regularizer="l2", activation="relu")
    described = serialize_keras_object(layer)
    assert described["class_name"] == "Dense"
    again = deserialize_keras_object(described, module_objects=dict(vars(fastk.layers)))
    assert again.get_config() == layer.get_config()


def test_names_mean_objects():
    objects = {"relu": fastk.activations.relu, "L2": fastk.regularizers.L2}
    assert deserialize_keras_object("relu", objects) is fastk.activations.relu
    assert isinstance(deserialize_keras_object("L2", objects), fastk.regularizers.L2)
    assert serialize_keras_object(fastk.activations.relu) == "relu"
    assert deserialize_keras_object("mine", objects, custom_objects={"mine": len}) is len
    with pytest.raises(ValueError, match="Unknown activation: 'nothing'"):
        deserialize_keras_object("nothing", objects, printable_module_name="activation")
    with pytest.raises(ValueError, match="Improper config"):
        deserialize_keras_object({"class_name": "L2"}, objects)
    with pytest.raises(ValueError, match="Cannot serialize 3"):
        serialize_keras_object(3)


def test_it_has_its_public_names():
    assert fastk.legacy.saving.serialize_keras_object is serialize_keras_object
    assert fastk.utils.legacy.serialize_keras_object is serialize_keras_object
