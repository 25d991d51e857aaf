import json

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.layers.checks import run_layer
from tests.layers.oracles import close


def test_rescaling(rng):
    x = rng.uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    _, outputs = run_layer(layers.Rescaling, {"scale": 1 / 255, "offset": -0.5}, inputs=x, supports_masking=True)
    close(outputs.detach(), x.astype("float64") / 255 - 0.5)
    per_channel = {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 1.0, 2.0]}
    _, outputs = run_layer(layers.Rescaling, per_channel, inputs=x)
    close(outputs.detach(), x.astype("float64") * [1, 2, 3] + [0, 1, 2], scale=800)
    assert layers.Rescaling(0.5)(np.array([[2, 4]], "uint8")).tolist() == [[1.0, 2.0]], "pixels become floats"


def test_rescaling_per_channel_first(rng):
    x = rng.normal(size=(2, 3, 4, 4)).astype("float32")
    keras.config.set_image_data_format("channels_first")
    try:
        outputs = layers.Rescaling([1.0, 2.0, 3.0])(x)
    finally:
        keras.config.set_image_data_format("channels_last")
    close(outputs, x * np.reshape([1, 2, 3], (3, 1, 1)))


def standardised(x, axes):
    x = np.asarray(x, "float64")
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)


@pytest.mark.parametrize(("axis", "reduced"), [(-1, (0, 1)), (None, (0, 1, 2)), (1, (0, 2)), ((1, 2), (0,))])
def test_adapt(axis, reduced, rng):
    data = rng.normal(3.0, 5.0, (12, 4, 3)).astype("float32")
    layer = layers.Normalization(axis=axis)
    layer.adapt(data)
    close(layer(data), standardised(data, reduced), reductions=144, scale=4.0)
    inverse = layers.Normalization(axis=axis, invert=True)
    inverse.adapt(torch.as_tensor(data))
    close(inverse(np.asarray(layer(data))), data, reductions=144, scale=30.0)


def test_adapt_to_batches_is_adapt_to_all(rng):
    data = rng.normal(100.0, 0.5, (30, 4)).astype("float32")
    parts = [data[:7], data[7:8], data[8:]]

    class Parts(keras.utils.PyDataset):
        def __len__(self):
            return len(parts)

        def __getitem__(self, index):
            return parts[index], np.zeros(len(parts[index]))

    for batches in (parts, iter(parts), ((part, None) for part in parts), Parts()):
        layer = layers.Normalization()
        layer.adapt(batches)
        np.testing.assert_allclose(layer.adapt_mean.numpy(), data.astype("float64").mean(0), rtol=1e-6)
        np.testing.assert_allclose(layer.adapt_variance.numpy(), data.astype("float64").var(0), rtol=1e-5)


def test_given_statistics(rng):
    x = rng.normal(size=(5, 3)).astype("float32")
    kwargs = {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 9.0]}
    _, outputs = run_layer(layers.Normalization, kwargs, inputs=x, supports_masking=True)
    close(outputs.detach(), (x - [1, 2, 3]) / [1, 2, 3])
    close(layers.Normalization(axis=None, mean=2.0, variance=4.0)(x), (x - 2.0) / 2.0)
    with pytest.raises(ValueError, match="adapt"):
        layers.Normalization(**kwargs).adapt(x)


def test_does_what_layers_do():
    names = ["mean", "variance", "count"]
    run_layer(layers.Normalization, {}, (5, 3), non_trainable=names, expected_shape=(5, 3))


def test_statistics_survive_a_file(rng):
    data = rng.normal(3.0, 5.0, (12, 3)).astype("float32")
    layer = layers.Normalization()
    layer.adapt(data)
    store = {}
    layer.save_own_variables(store)
    clone = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    clone.load_own_variables({name: value.numpy() for name, value in store.items()})
    np.testing.assert_array_equal(np.asarray(clone(data)), np.asarray(layer(data)))


def test_mistakes(rng):
    for kwargs, message in (
        ({"mean": 1.0}, "both `mean` and `variance`"),
        ({"mean": [1.0], "variance": [1.0, 2.0]}, "same shape"),
        ({"axis": None, "mean": [1.0], "variance": [1.0]}, "rank of `mean`"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.Normalization(**kwargs)
    with pytest.raises(ValueError, match="range"):
        layers.Normalization(axis=3).build((2, 3))
    with pytest.raises(ValueError, match="known shape"):
        layers.Normalization().build((2, None))
    layer = layers.Normalization()
    for bad, error in (([], ValueError), (3, TypeError), ([1, 2], TypeError)):
        with pytest.raises(error, match="adapt"):
            layer.adapt(bad)
    layer.adapt(np.ones((4, 3)))
    with pytest.raises(ValueError, match="incompatible shape"):
        layer.adapt(np.ones((4, 2)))
    with pytest.raises(ValueError, match="incompatible shape"):
        layer.adapt([np.ones((4, 3)), np.ones((4, 2))])
