import numpy as np
import pytest
import torch

from fastk import layers
from tests.layers.checks import run_layer


def test_discretization_with_boundaries(rng):
    x = rng.normal(size=(5, 3)).astype("float32")
    x[0, 0] = 0.5
    boundaries = [-1.0, 0.5, 1.5]
    outputs = layers.Discretization(bin_boundaries=boundaries)(x)
    np.testing.assert_array_equal(outputs, np.digitize(x, boundaries))
    assert outputs.dtype is torch.int32
    counts = np.stack([np.bincount(row, minlength=4) for row in np.digitize(x, boundaries)])
    np.testing.assert_array_equal(layers.Discretization(boundaries, output_mode="count")(x), counts)
    np.testing.assert_array_equal(layers.Discretization(boundaries, output_mode="multi_hot")(x), counts > 0)
    assert layers.Discretization(boundaries, output_mode="one_hot")(x).shape == (5, 3, 4)
    assert layers.Discretization(boundaries, output_mode="one_hot")(x[:, :1]).shape == (5, 4)


@pytest.mark.parametrize("batches", [1, 7])
def test_discretization_learns_quantiles(batches, rng):
    data = rng.normal(size=7000).astype("float32")
    layer = layers.Discretization(num_bins=4, epsilon=0.001)
    layer.adapt(data if batches == 1 else iter(np.split(data, batches)))
    np.testing.assert_allclose(layer.bin_boundaries, np.quantile(data, [0.25, 0.5, 0.75]), atol=0.02)
    shares = np.bincount(layer(data).numpy()) / len(data)
    np.testing.assert_allclose(shares, 0.25, atol=0.01)
    clone = layers.Discretization.from_config(layer.get_config())
    np.testing.assert_array_equal(clone(data), layer(data))


def test_discretization_says_what_is_wrong():
    for arguments, message in (
        ({}, "either `num_bins` or `bin_boundaries`"),
        ({"num_bins": 2, "bin_boundaries": [0.0]}, "should not be set"),
        ({"num_bins": -1}, "greater than or equal to 0"),
        ({"num_bins": 2, "output_mode": "rows"}, "`output_mode`"),
        ({"num_bins": 2, "sparse": True}, "`sparse=True` may only be used"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.Discretization(**arguments)
    with pytest.raises(ValueError, match="or call `adapt"):
        layers.Discretization(num_bins=2)(np.ones(3))
    with pytest.raises(ValueError, match="initialized with `bin_boundaries`"):
        layers.Discretization(bin_boundaries=[0.0]).adapt(np.ones(3))


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_category_encoding(mode, rng):
    x = rng.integers(0, 6, (4, 1 if mode == "one_hot" else 3)).astype("int32")
    _, outputs = run_layer(
        layers.CategoryEncoding,
        {"num_tokens": 6, "output_mode": mode},
        inputs=x,
        expected_shape=(4, 6),
        unknown="batch",
        gradients=False,
        mixed=False,
    )
    counts = np.stack([np.bincount(row, minlength=6) for row in x])
    np.testing.assert_array_equal(outputs, counts if mode == "count" else counts > 0)


def test_category_encoding_with_weights_and_of_one_sample():
    layer = layers.CategoryEncoding(4, output_mode="count")
    weights = np.array([[0.5, 0.25, 2.0]])
    np.testing.assert_array_equal(layer(np.array([[1, 1, 3]]), count_weights=weights), [[0, 0.75, 0, 2]])
    np.testing.assert_array_equal(layers.CategoryEncoding(4)([1, 3]), [0, 1, 0, 1])


def test_category_encoding_says_what_is_wrong():
    for arguments, message in (
        ({}, "num_tokens must be set"),
        ({"num_tokens": 0}, "must be >= 1"),
        ({"num_tokens": 2, "output_mode": "rows"}, "Unknown arg for output_mode"),
        ({"num_tokens": 2, "sparse": True}, "outputs are dense"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.CategoryEncoding(**arguments)
    with pytest.raises(ValueError, match="`count_weights` is not used"):
        layers.CategoryEncoding(2)([0], count_weights=[1.0])
