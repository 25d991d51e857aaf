import numpy as np
import pytest
import torch

from fastk import layers
from fastk.tensor import set_keras_mask
from tests.layers.checks import run_layer
from tests.layers.oracles import close

X = np.array([[-10.0, -0.5, 0.0], [0.25, 5.0, 20.0]], "float32")


def outputs_of(cls, kwargs, x=X):
    _, outputs = run_layer(cls, kwargs, inputs=x, expected_shape=x.shape, supports_masking=True)
    assert cls(**kwargs).built
    return outputs.detach().numpy()


def test_activation():
    np.testing.assert_array_equal(outputs_of(layers.Activation, {"activation": "relu"}), np.maximum(X, 0))
    close(outputs_of(layers.Activation, {"activation": "tanh"}), np.tanh(X.astype("float64")))
    assert layers.Activation(torch.sin)(X).shape == X.shape
    with pytest.raises(ValueError, match="nonsense"):
        layers.Activation("nonsense")


def test_relu():
    np.testing.assert_array_equal(outputs_of(layers.ReLU, {}), np.maximum(X, 0))
    np.testing.assert_array_equal(outputs_of(layers.ReLU, {"max_value": 6.0}), np.clip(X, 0, 6))
    np.testing.assert_array_equal(outputs_of(layers.ReLU, {"threshold": 1.0}), np.where(X > 1, X, 0))
    got = outputs_of(layers.ReLU, {"max_value": 6.0, "negative_slope": 0.5, "threshold": 1.0})
    np.testing.assert_array_equal(got, np.minimum(np.where(X > 1, X, 0.5 * (X - 1)), 6))
    for name in ("max_value", "negative_slope", "threshold"):
        with pytest.raises(ValueError, match=name):
            layers.ReLU(**{name: -1.0})
    for name in ("negative_slope", "threshold"):
        with pytest.raises(ValueError, match=name):
            layers.ReLU(**{name: None})


def test_leaky_relu():
    np.testing.assert_allclose(outputs_of(layers.LeakyReLU, {}), np.where(X > 0, X, np.float32(0.3) * X))
    with pytest.warns(UserWarning, match="alpha"):
        assert layers.LeakyReLU(alpha=0.5).negative_slope == 0.5
    for bad in (None, -1.0):
        with pytest.raises(ValueError, match="negative_slope"):
            layers.LeakyReLU(bad)


def test_elu():
    close(outputs_of(layers.ELU, {"alpha": 2.0}), np.where(X > 0, X, 2 * np.expm1(X.astype("float64"))))


def test_prelu(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    run_layer(
        layers.PReLU, {"alpha_regularizer": "l1"}, (2, 3, 4), weights=["alpha"], unknown="batch", supports_masking=True
    )
    layer, _ = run_layer(
        layers.PReLU, {"shared_axes": [1, 2], "alpha_initializer": "ones"}, (2, 3, 4, 5), weights=["alpha"]
    )
    assert layer.alpha.shape == (1, 1, 5)
    alpha = rng.normal(size=(1, 1, 5)).astype("float32")
    layer.set_weights([alpha])
    close(layer(x), np.where(x > 0, x, alpha * x))
    assert layers.PReLU(shared_axes=1).shared_axes == [1]
    with pytest.raises(ValueError, match="expected axis 3"):
        layer(torch.ones(2, 3, 4, 6))


def softmax(x, axis):
    x = np.exp(x.astype("float64") - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), [-1]])
def test_softmax(axis, rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32") * 10
    expected = softmax(x, tuple(axis) if isinstance(axis, list) else axis)
    close(outputs_of(layers.Softmax, {"axis": axis}, x), expected, reductions=12, scale=20.0)


def test_masked_softmax(rng):
    x = rng.normal(size=(3, 4)).astype("float32")
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    got = np.asarray(layers.Softmax()(x, mask=torch.as_tensor(mask)))
    assert (got[~mask] == 0).all() and (got[1] == 0).all()
    close(got[0, :2], softmax(x[0, :2], -1))
    np.testing.assert_array_equal(np.asarray(layers.Softmax()(x, mask=torch.as_tensor(mask.astype("float32")))), got)
    attached = torch.as_tensor(x)
    set_keras_mask(attached, torch.as_tensor(mask))
    np.testing.assert_array_equal(np.asarray(layers.Softmax()(attached)), got)
    for bad, message in (((3, 3), "broadcastable"), ((1, 3, 4), "must not have more dimensions")):
        with pytest.raises(ValueError, match=message):
            layers.Softmax()(x, mask=torch.ones(bad, dtype=torch.bool))
