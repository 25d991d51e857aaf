import functools

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.tensor import set_keras_mask
from tests.layers.checks import run_layer

ELEMENTWISE = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Average": lambda a, b: (a + b) / 2,
}


def numbers(rng, *shape):
    return rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, rng):
    cls, oracle = getattr(layers, name), ELEMENTWISE[name]
    a, b = numbers(rng, 2, 3, 4), numbers(rng, 2, 3, 4)
    _, outputs = run_layer(cls, {}, inputs=[a, b], expected_shape=(2, 3, 4), supports_masking=True)
    np.testing.assert_allclose(outputs.detach(), oracle(a, b), rtol=1e-6)
    function = getattr(layers, name.lower())
    np.testing.assert_array_equal(np.asarray(function([a, b])), np.asarray(outputs.detach()))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_broadcasting(name, rng):
    cls, oracle = getattr(layers, name), ELEMENTWISE[name]
    a = numbers(rng, 2, 3, 4)
    for b in (numbers(rng, 2, 1, 4), numbers(rng, 2, 4), numbers(rng, 2, 3, 1)):
        _, outputs = run_layer(cls, {}, inputs=[a, b], expected_shape=(2, 3, 4), unknown="batch")
        # A missing axis is put after the batch.
        expected = oracle(a, b if b.ndim == 3 else b[:, None])
        np.testing.assert_allclose(outputs.detach(), expected, rtol=1e-6)
    assert cls().compute_output_shape([(None, 3, None), (2, None, 4)]) == (2, None, None)


def test_more_than_two_inputs(rng):
    inputs = [numbers(rng, 2, 3) for _ in range(3)]
    for name, oracle in (("Add", np.add), ("Multiply", np.multiply), ("Maximum", np.maximum)):
        np.testing.assert_allclose(
            np.asarray(getattr(layers, name)()(inputs)), functools.reduce(oracle, inputs), rtol=1e-6
        )
    np.testing.assert_allclose(np.asarray(layers.Average()(inputs)), np.mean(inputs, axis=0), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="exactly 2 inputs"):
        layers.Subtract()(inputs)


def test_elementwise_mistakes():
    with pytest.raises(ValueError, match="list of inputs"):
        layers.Add()(torch.ones(2, 3))
    with pytest.raises(ValueError, match="different batch sizes"):
        layers.Add()([torch.ones(2, 3), torch.ones(4, 3)])
    with pytest.raises(ValueError, match="incompatible shapes"):
        layers.Add()([torch.ones(2, 3), torch.ones(2, 4)])


def masked(values, mask):
    x = torch.as_tensor(values)
    set_keras_mask(x, torch.as_tensor(mask))
    return x


def test_masks_are_joined_by_or():
    a = masked(np.ones((1, 3, 2), "float32"), [[True, False, False]])
    b = masked(np.ones((1, 3, 2), "float32"), [[True, True, False]])
    assert layers.Add()([a, b])._keras_mask.tolist() == [[True, True, False]]
    plain = torch.ones(1, 3, 2)
    assert getattr(layers.Add()([a, plain]), "_keras_mask", None) is None, "what has no mask counts everywhere"
    for bad, message in ((True, "should be a list"), ([None], "same length")):
        with pytest.raises(ValueError, match=message):
            layers.Add().compute_mask([a, b], bad)


def test_maximum_and_multiply_skip_masked_entries():
    a = masked(np.full((1, 3, 1), 2.0, "float32"), [[True, False, False]])
    b = masked(np.full((1, 3, 1), 3.0, "float32"), [[True, True, False]])
    largest = layers.Maximum()([a, b])
    assert largest[0, :2, 0].tolist() == [3.0, 3.0] and largest._keras_mask.tolist() == [[True, True, False]]
    smallest = layers.Minimum()([a, b])
    assert smallest[0, :2, 0].tolist() == [2.0, 3.0]
    product = layers.Multiply()([a, b])
    assert product[0, :, 0].tolist() == [6.0, 3.0, 0.0] and product._keras_mask.tolist() == [[True, True, False]]


def test_concatenate(rng):
    a, b, c = numbers(rng, 2, 3, 4), numbers(rng, 2, 5, 4), numbers(rng, 2, 3, 1)
    _, outputs = run_layer(layers.Concatenate, {"axis": 1}, inputs=[a, b], expected_shape=(2, 8, 4))
    np.testing.assert_array_equal(outputs.detach(), np.concatenate([a, b], axis=1))
    _, outputs = run_layer(layers.Concatenate, {}, inputs=[a, c], expected_shape=(2, 3, 5))
    np.testing.assert_array_equal(outputs.detach(), np.concatenate([a, c], axis=-1))
    np.testing.assert_array_equal(np.asarray(layers.concatenate([a, b], axis=1)), np.concatenate([a, b], axis=1))
    with pytest.raises(ValueError, match="matching shapes except for the concatenation axis"):
        layers.Concatenate()([a, b])
    with pytest.raises(ValueError, match="at least 1 input"):
        layers.Concatenate().build((2, 3))


def test_concatenate_joins_masks():
    a = masked(np.ones((1, 2, 2), "float32"), [[True, False]])
    outputs = layers.Concatenate(axis=1)([a, torch.ones(1, 1, 2)])
    assert outputs._keras_mask.tolist() == [[True, False, True]]
    x = keras.Input((4,), dtype="int32")
    embedded = layers.Embedding(5, 3, mask_zero=True)(x)
    assert layers.Concatenate(axis=1)([embedded, embedded])._keras_mask.shape == (None, 8)
    assert layers.Add()([embedded, embedded])._keras_mask.shape == (None, 4)


@pytest.mark.parametrize(
    ("axes", "shape1", "shape2", "equation"),
    [
        (1, (2, 3), (2, 3), "bi,bi->b"),
        (-1, (2, 3, 4), (2, 5, 4), "bij,bkj->bik"),
        ((1, 2), (2, 3, 4), (2, 5, 3), "bij,bki->bjk"),
        ((2, 1), (2, 3, 4), (2, 4), "bij,bj->bi"),
        ((1, 1), (2, 3), (2, 3, 4), "bi,bik->bk"),
        ((2, 3), (2, 3, 4), (2, 5, 6, 4), "bij,bklj->bikl"),
    ],
)
def test_dot(axes, shape1, shape2, equation, rng):
    a, b = numbers(rng, *shape1), numbers(rng, *shape2)
    expected = np.einsum(equation, a.astype("float64"), b)
    expected = expected[:, None] if expected.ndim == 1 else expected
    _, outputs = run_layer(layers.Dot, {"axes": axes}, inputs=[a, b], expected_shape=expected.shape, unknown="batch")
    np.testing.assert_allclose(outputs.detach(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(layers.dot([a, b], axes=axes)), np.asarray(outputs.detach()))


def test_normalized_dot_is_the_cosine(rng):
    a, b = numbers(rng, 5, 7), numbers(rng, 5, 7)
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(np.asarray(layers.Dot(1, normalize=True)([a, b]))[:, 0], expected, rtol=1e-5)


def test_dot_mistakes():
    for bad, error in (("1", TypeError), ((1, 2, 3), ValueError), ((1, "2"), ValueError)):
        with pytest.raises(error, match="axes"):
            layers.Dot(bad)
    with pytest.raises(ValueError, match="Incompatible input shapes"):
        layers.Dot(1)([torch.ones(2, 3), torch.ones(2, 4)])
    with pytest.raises(ValueError, match="axis 0"):
        layers.Dot(0)([torch.ones(2, 3), torch.ones(2, 3)])
    with pytest.raises(ValueError, match="2 inputs"):
        layers.Dot(1)([torch.ones(2, 3)])
