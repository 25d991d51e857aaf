import pytest

import fastk as keras
from fastk import layers


def test_shapes():
    assert layers.InputLayer(shape=(2, 3), batch_size=4).batch_shape == (4, 2, 3)
    assert layers.InputLayer(batch_shape=(4, 2, 3), dtype="int32").output.dtype == "int32"
    assert keras.Input((2, 3), name="x").shape == (None, 2, 3)
    with pytest.warns(UserWarning, match="`input_shape` is deprecated"):
        assert layers.InputLayer(input_shape=(2,)).batch_shape == (None, 2)
    layer = layers.InputLayer((2,), optional=True, name="x")
    clone = layers.deserialize(layers.serialize(layer))
    assert clone.get_config() == layer.get_config() and clone.optional and not clone.sparse
    assert layer.call() is None


def test_given_tensor():
    tensor = keras.KerasTensor((2, 3))
    layer = layers.InputLayer(shape=(3,), batch_size=2, dtype="float32", sparse=False, input_tensor=tensor)
    assert layer.output is tensor
    for name, value in (
        ("shape", (4,)),
        ("batch_size", 5),
        ("batch_shape", (2, 4)),
        ("dtype", "int32"),
        ("sparse", True),
    ):
        with pytest.raises(ValueError, match=f"incompatible `{name}`"):
            layers.InputLayer(**{name: value, "input_tensor": tensor})
    with pytest.raises(ValueError, match="must be a KerasTensor"):
        layers.InputLayer(input_tensor=[1.0])


def test_mistakes():
    for kwargs, message in (
        ({}, "pass a `shape` argument"),
        ({"shape": (1,), "batch_shape": (1, 1)}, "both `shape` and `batch_shape`"),
        ({"batch_size": 1, "batch_shape": (1, 1)}, "both `batch_size` and `batch_shape`"),
        ({"shape": (1,), "sparse": True}, "`sparse=True` is not supported"),
        ({"shape": (1,), "ragged": True}, "`ragged=True` is not supported"),
        ({"shape": (1,), "nonsense": True}, "nonsense"),
        ({"shape": 3}, "Cannot convert"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.InputLayer(**kwargs)
