"""What the tests of training share: small models, small data, and the mathematics they are checked against."""

import numpy as np

import fastk as keras
from fastk import layers


def regression(samples=12, features=3, outputs=1, seed=0):
    """`x` and `y` of float32."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, features)).astype("float32")
    return x, generator.normal(size=(samples, outputs)).astype("float32")


def linear(features=3, outputs=1, **dense):
    """One dense layer."""
    return keras.Sequential([layers.Input((features,)), layers.Dense(outputs, **dense)])


def two_outputs(kind="list"):
    """Outputs `a` (1 unit) and `b` (2 units) of one input of 3 features."""
    x = layers.Input((3,), name="x")
    a, b = layers.Dense(1, name="a")(x), layers.Dense(2, name="b")(x)
    return keras.Model(x, {"list": [a, b], "tuple": (a, b), "dict": {"a": a, "b": b}}[kind])


def two_labels(samples=12):
    """Labels for `two_outputs`."""
    return regression(samples, outputs=1, seed=1)[1], regression(samples, outputs=2, seed=2)[1]


def dense(layer, x):
    """A dense layer's output in float64."""
    return x.astype("float64") @ layer.kernel.numpy().astype("float64") + layer.bias.numpy().astype("float64")


def mse(y_true, y_pred, weight: float | np.ndarray = 1.0):
    """Mean squared error, each sample's times its weight."""
    return (((y_true - y_pred) ** 2).mean(-1) * weight).mean()


def mae(y_true, y_pred, weight: float | np.ndarray = 1.0):
    """Mean absolute error, each sample's times its weight."""
    return (np.abs(y_true - y_pred).mean(-1) * weight).mean()


def close(actual, desired, operations=100):
    """Equal but for the rounding, in float32, of so many operations on numbers of about 1."""
    np.testing.assert_allclose(actual, desired, rtol=np.finfo("float32").eps * operations**0.5 * 2, atol=1e-6)
