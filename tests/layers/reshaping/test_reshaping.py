import numpy as np
import pytest
import torch

from fastk import layers
from tests.layers.checks import BATCH, run_layer

IMAGE = (2, 4, 5, 3)
VOLUME = (2, 4, 5, 3, 2)


def numbers(shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def same(actual, expected):
    np.testing.assert_array_equal(np.asarray(actual), expected)


def test_flatten():
    for shape, expected in (((2, 3, 4), (2, 12)), ((2,), (2, 1)), ((2, 3), (2, 3)), ((0, 3, 4), (0, 12))):
        x = numbers(shape)
        _, outputs = run_layer(layers.Flatten, {}, inputs=x, expected_shape=expected)
        same(outputs.detach(), x.reshape(expected))
    x = numbers((2, 3, 4, 5))
    same(layers.Flatten(data_format="channels_first")(x), np.moveaxis(x, 1, -1).reshape(2, -1))
    assert layers.Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert layers.Flatten()(np.arange(6).reshape(1, 2, 3)).dtype is torch.int64, "integers stay integers"


def test_reshape():
    x = numbers((2, 3, 4))
    for target, expected in (((12,), (2, 12)), ((-1, 2), (2, 6, 2)), ((2, 6), (2, 2, 6)), ((-1,), (2, 12))):
        _, outputs = run_layer(layers.Reshape, {"target_shape": target}, inputs=x, expected_shape=expected)
        same(outputs.detach(), x.reshape(expected))
    assert layers.Reshape((-1, 2)).compute_output_shape((None, 3, 4)) == (None, 6, 2)
    assert layers.Reshape((-1, 2)).compute_output_shape((None, None, 4)) == (None, None, 2)
    assert layers.Reshape((-1, 2))(np.ones((0, 3, 4))).shape == (0, 6, 2)
    for bad, message in (((-1, -1), "at most one"), ((-2, 2), "non-negative")):
        with pytest.raises(ValueError, match=message):
            layers.Reshape(bad)
    for bad in ((5,), (-1, 5)):
        with pytest.raises(ValueError, match="total size of the tensor must be unchanged"):
            layers.Reshape(bad)(x)


def test_permute():
    x = numbers((2, 3, 4, 5))
    _, outputs = run_layer(layers.Permute, {"dims": (2, 1, 3)}, inputs=x, expected_shape=(2, 4, 3, 5))
    same(outputs.detach(), x.transpose(0, 2, 1, 3))
    for bad in ((0, 1), (1, 3), (1, 1)):
        with pytest.raises(ValueError, match="dims"):
            layers.Permute(bad)
    with pytest.raises(ValueError, match="expected ndim=3"):
        layers.Permute((2, 1))(x)


def test_repeat_vector():
    x = numbers((2, 3))
    _, outputs = run_layer(layers.RepeatVector, {"n": 4}, inputs=x, expected_shape=(2, 4, 3))
    same(outputs.detach(), np.repeat(x[:, None], 4, axis=1))
    for bad, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n"):
            layers.RepeatVector(bad)


PADDED = [
    (layers.ZeroPadding1D, 2, (2, 5, 3), [(2, 2)]),
    (layers.ZeroPadding1D, (1, 0), (2, 5, 3), [(1, 0)]),
    (layers.ZeroPadding2D, 1, IMAGE, [(1, 1), (1, 1)]),
    (layers.ZeroPadding2D, (1, 2), IMAGE, [(1, 1), (2, 2)]),
    (layers.ZeroPadding2D, ((1, 0), (0, 3)), IMAGE, [(1, 0), (0, 3)]),
    (layers.ZeroPadding3D, (1, 0, 2), VOLUME, [(1, 1), (0, 0), (2, 2)]),
    (layers.ZeroPadding3D, ((1, 0), (0, 2), (1, 1)), VOLUME, [(1, 0), (0, 2), (1, 1)]),
]


@pytest.mark.parametrize(("cls", "padding", "shape", "pairs"), PADDED)
def test_zero_padding(cls, padding, shape, pairs):
    x = numbers(shape)
    expected = np.pad(x, [(0, 0), *pairs, (0, 0)])
    _, outputs = run_layer(cls, {"padding": padding}, inputs=x, expected_shape=expected.shape)
    same(outputs.detach(), expected)
    kwargs = {"padding": padding, "data_format": "channels_first"}
    _, outputs = run_layer(cls, kwargs, inputs=x, unknown=BATCH)
    same(outputs.detach(), np.pad(x, [(0, 0), (0, 0), *pairs]))


CROPPED = [
    (layers.Cropping1D, 1, (2, 5, 3), [(1, 1)]),
    (layers.Cropping1D, (2, 0), (2, 5, 3), [(2, 0)]),
    (layers.Cropping2D, 1, IMAGE, [(1, 1), (1, 1)]),
    (layers.Cropping2D, (0, 2), IMAGE, [(0, 0), (2, 2)]),
    (layers.Cropping2D, ((1, 0), (0, 3)), IMAGE, [(1, 0), (0, 3)]),
    (layers.Cropping3D, (1, 0, 1), VOLUME, [(1, 1), (0, 0), (1, 1)]),
    (layers.Cropping3D, ((1, 0), (0, 2), (0, 0)), VOLUME, [(1, 0), (0, 2), (0, 0)]),
]


@pytest.mark.parametrize(("cls", "cropping", "shape", "pairs"), CROPPED)
def test_cropping(cls, cropping, shape, pairs):
    x = numbers(shape)
    index = tuple(slice(before, size - after) for size, (before, after) in zip(shape[1:], pairs, strict=False))
    expected = x[(slice(None), *index)]
    _, outputs = run_layer(cls, {"cropping": cropping}, inputs=x, expected_shape=expected.shape)
    same(outputs.detach(), expected)
    if cls is not layers.Cropping1D:
        layer = cls(cropping, data_format="channels_first")
        same(layer(np.moveaxis(x, -1, 1)), np.moveaxis(expected, -1, 1))


def test_cropping_everything_is_an_error():
    for layer, shape in (
        (layers.Cropping1D(3), (1, 6, 2)),
        (layers.Cropping2D(2), (1, 4, 9, 2)),
        (layers.Cropping3D(2), (1, 4, 9, 9, 2)),
    ):
        with pytest.raises(ValueError, match="smaller than"):
            layer.compute_output_shape(shape)
        with pytest.raises(ValueError, match="smaller than"):
            layer(np.ones(shape))
    assert layers.Cropping2D(1)(np.ones((0, 4, 4, 2))).shape == (0, 2, 2, 2), "an empty batch is none of these"


@pytest.mark.parametrize("cls", [layers.ZeroPadding2D, layers.Cropping2D, layers.ZeroPadding3D, layers.Cropping3D])
def test_bad_widths(cls):
    for bad in (-1, (1,), (1, 2, 3, 4), ((1, 2), (3, -4)), ((1, 2, 3), (1, 2)), "a", None, 1.5):
        with pytest.raises(ValueError, match=r"padding|cropping"):
            cls(bad)


def test_up_sampling_repeats():
    x = numbers((2, 3, 2))
    _, outputs = run_layer(layers.UpSampling1D, {"size": 3}, inputs=x, expected_shape=(2, 9, 2))
    same(outputs.detach(), np.repeat(x, 3, axis=1))
    x = numbers(IMAGE)
    _, outputs = run_layer(layers.UpSampling2D, {"size": (2, 3)}, inputs=x, expected_shape=(2, 8, 15, 3))
    expected = np.repeat(np.repeat(x, 2, axis=1), 3, axis=2)
    same(outputs.detach(), expected)
    same(layers.UpSampling2D((2, 3), data_format="channels_first")(np.moveaxis(x, -1, 1)), np.moveaxis(expected, -1, 1))
    x = numbers(VOLUME)
    _, outputs = run_layer(layers.UpSampling3D, {"size": (2, 1, 3)}, inputs=x, expected_shape=(2, 8, 5, 9, 2))
    same(outputs.detach(), np.repeat(np.repeat(x, 2, axis=1), 3, axis=3))


def test_bilinear_up_sampling_has_half_pixel_centres():
    x = np.array([0.0, 4.0], "float32").reshape(1, 2, 1, 1)
    got = layers.UpSampling2D((2, 1), interpolation="bilinear")(x)
    np.testing.assert_allclose(np.asarray(got).ravel(), [0.0, 1.0, 3.0, 4.0])
    run_layer(layers.UpSampling2D, {"size": 2, "interpolation": "bilinear"}, IMAGE, expected_shape=(2, 8, 10, 3))
    with pytest.raises(ValueError, match="interpolation"):
        layers.UpSampling2D(2, interpolation="cubist")


def test_bad_sizes():
    for bad, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="size"):
            layers.UpSampling1D(bad)
    with pytest.raises(ValueError, match="size"):
        layers.UpSampling2D((1, 2, 3))
