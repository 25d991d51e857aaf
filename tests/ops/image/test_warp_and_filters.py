"""Sampling, filters and resampling of images against SciPy and definitions written out."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import fastk as keras
from fastk import ops

MODES = {"constant": "constant", "nearest": "nearest", "wrap": "grid-wrap", "mirror": "mirror", "reflect": "reflect"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (4, 7), (3, 4, 2), (1, 6)])
def test_map_coordinates(mode, order, shape, rng):
    x = rng.normal(size=shape)
    places = rng.uniform(-2.4, 1.4, (len(shape), 50)) * np.reshape(shape, (-1, 1))
    # SciPy's "constant" goes over to the fill value outside of the border's centres as Keras's does.
    scipy_mode = "grid-constant" if mode == "constant" else MODES[mode]
    expected = ndimage.map_coordinates(x, places, order=order, mode=scipy_mode, cval=1.5)
    actual = ops.image.map_coordinates(x, places, order, mode, 1.5).double()
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_map_coordinates_of_integers_rounds():
    x = np.array([0, 10, 21], "uint8")
    actual = ops.image.map_coordinates(x, np.array([[0.26, 1.5, 2.0, 5.0]]), 1, fill_value=7.9)
    assert actual.tolist() == [3, 16, 21, 7] and actual.dtype is torch.uint8


def affine(rng, count):
    matrix = np.zeros((count, 8), "float32")
    matrix[:, [0, 4]] = 1
    return matrix + np.pad(rng.normal(0, 0.2, (count, 6)), ((0, 0), (0, 2))).astype("float32")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("mode", ["reflect", "nearest", "wrap"])
def test_affine_transform(interpolation, mode, rng):
    x = rng.uniform(size=(3, 6, 7, 2)).astype("float32")
    matrix = affine(rng, 3)
    actual = ops.image.affine_transform(x, matrix, interpolation, mode)
    order = {"nearest": 0, "bilinear": 1}[interpolation]
    for i, (a0, a1, a2, b0, b1, b2, _, _) in enumerate(matrix.astype("float64")):
        offset: Any = (b2, a2)
        for channel in range(2):
            expected = ndimage.affine_transform(
                x[i, ..., channel].astype("float64"), [[b1, b0], [a1, a0]], offset, order=order, mode=MODES[mode]
            )
            np.testing.assert_allclose(actual[i, ..., channel], expected, atol=1e-4)
    first = ops.image.affine_transform(
        x.transpose(0, 3, 1, 2), matrix, interpolation, mode, data_format="channels_first"
    )
    np.testing.assert_array_equal(first.permute(0, 2, 3, 1), actual)
    np.testing.assert_array_equal(ops.image.affine_transform(x[0], matrix[0], interpolation, mode), actual[0])


def test_a_projective_transform_divides(rng):
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    matrix = np.array([[1.1, 0.1, 0.2, -0.1, 0.9, 0.3, 0.02, 0.03]], "float32")
    rows, columns = np.mgrid[:8, :8].astype("float64")
    k = 0.02 * columns + 0.03 * rows + 1
    places = [(-0.1 * columns + 0.9 * rows + 0.3) / k, (1.1 * columns + 0.1 * rows + 0.2) / k]
    expected = ndimage.map_coordinates(x[0, ..., 0].astype("float64"), places, order=1, mode="grid-constant")
    np.testing.assert_allclose(ops.image.affine_transform(x, matrix)[0, ..., 0], expected, atol=1e-4)


def test_perspective_takes_start_points_to_end_points(rng):
    start = np.array([[[0, 0], [7, 0], [0, 7], [7, 7]]], "float32")
    end = start + rng.uniform(-1, 1, (1, 4, 2)).astype("float32")
    places = np.tile(np.arange(8.0, dtype="float32"), (8, 1))
    images = np.stack((places, places.T), axis=-1)[None]  # each pixel holds its own (x, y)
    outputs = ops.image.perspective_transform(images, start, end, fill_value=-99.0)
    for corner, at in zip(start[0], end[0], strict=True):
        if (at >= 0).all() and (at <= 7).all():
            for channel in range(2):
                value = ops.image.map_coordinates(outputs[0, ..., channel], at[::-1, None], 1).item()
                assert value < -5 or abs(value - corner[channel]) < 0.5
    same = ops.image.perspective_transform(images, start, start)
    np.testing.assert_allclose(same, images, atol=1e-4)


def test_elastic_transform_is_seeded_and_does_nothing_without_strength(rng):
    x = rng.uniform(size=(2, 10, 12, 3)).astype("float32")
    once, again = (ops.image.elastic_transform(x, alpha=2.0, sigma=1.0, seed=3) for _ in range(2))
    assert torch.equal(once, again) and not np.allclose(once, x)
    assert not torch.equal(once, ops.image.elastic_transform(x, alpha=2.0, sigma=1.0, seed=4))
    np.testing.assert_allclose(ops.image.elastic_transform(x, alpha=0.0, sigma=1.0), x, atol=1e-6)


def test_gaussian_blur(rng):
    x = rng.normal(size=(2, 7, 8, 3))
    for size, sigma in (((3, 3), (1.0, 1.0)), ((5, 5), (0.7, 1.4))):
        expected = x
        for axis, s in ((2, sigma[0]), (1, sigma[1])):
            places = np.arange(size[0]) - size[0] // 2
            kernel = np.exp(-0.5 * (places / s) ** 2)
            expected = ndimage.correlate1d(expected, kernel / kernel.sum(), axis=axis, mode="constant")
        np.testing.assert_allclose(ops.image.gaussian_blur(x, size, sigma), expected, atol=1e-5)
    with pytest.raises(ValueError, match="two odd integers"):
        ops.image.gaussian_blur(x, (4, 4))


def test_sobel_edges(rng):
    x = rng.normal(size=(2, 5, 6, 3))
    actual = ops.image.sobel_edges(x)
    for i, axis in enumerate((1, 2)):
        np.testing.assert_allclose(actual[..., i], _sobel(x, axis), atol=1e-5)
    first = ops.image.sobel_edges(x.transpose(0, 3, 1, 2), data_format="channels_first")
    np.testing.assert_array_equal(first.permute(0, 2, 3, 1, 4), actual)


def _sobel(x, axis):
    across = 3 - axis
    smooth = ndimage.correlate1d(x, [1, 2, 1], axis=across, mode="constant")
    return ndimage.correlate1d(smooth, [-1, 0, 1], axis=axis, mode="constant")


def test_ssim(rng):
    a, b = rng.uniform(size=(2, 1, 14, 15, 2))
    kernel = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2

    def mean(x):
        return ndimage.correlate(x, kernel)[5:-5, 5:-5]

    values = []
    for channel in range(2):
        p, q = a[0, ..., channel], b[0, ..., channel]
        mp, mq = mean(p), mean(q)
        vp, vq, cov = mean(p * p) - mp**2, mean(q * q) - mq**2, mean(p * q) - mp * mq
        c1, c2 = 0.01**2, 0.03**2
        values.append(((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))).mean())
    np.testing.assert_allclose(ops.image.ssim(a, b), [np.mean(values)], atol=1e-5)
    np.testing.assert_allclose(ops.image.ssim(a[0], a[0]), 1.0, atol=1e-6)
    assert ops.image.ssim(keras.Input((14, 15, 2)), keras.Input((14, 15, 2))).shape == (None,)


def test_scale_and_translate(rng):
    x = rng.normal(size=(5, 6))
    moved = ops.image.scale_and_translate(x, (7, 6), [1.0], [2.0], (0,), "linear")
    np.testing.assert_allclose(moved, np.concatenate((np.zeros((2, 6)), x)), atol=1e-6)
    halved = ops.image.scale_and_translate(np.arange(8.0), (4,), [0.5], [0.0], (0,), "linear", antialias=False)
    np.testing.assert_allclose(halved, [0.5, 2.5, 4.5, 6.5], atol=1e-6)
    for method in ("cubic", "lanczos3", "lanczos5"):
        flat = ops.image.scale_and_translate(np.ones((6, 4)), (9, 4), [1.5], [0.0], (0,), method)
        np.testing.assert_allclose(flat, 1.0, atol=1e-5)
    with pytest.raises(ValueError, match="`method`"):
        ops.image.scale_and_translate(x, (5, 6), [1.0], [0.0], (0,), "glue")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x: ops.image.affine_transform(x, np.zeros(8), interpolation="glue"), "`interpolation`"),
        (lambda x: ops.image.affine_transform(x, np.zeros(8), fill_mode="glue"), "`fill_mode`"),
        (lambda x: ops.image.affine_transform(x[0], np.zeros(8)), "Invalid images rank"),
        (lambda x: ops.image.affine_transform(x, np.zeros((1, 1, 8))), "Invalid transform rank"),
        (lambda x: ops.image.map_coordinates(x, np.zeros((2, 3)), 1), "First dim of `coordinates`"),
        (
            lambda x: ops.image.perspective_transform(x, np.zeros((3, 2)), np.zeros((4, 2))),
            "Invalid start_points shape",
        ),
        (lambda x: ops.image.sobel_edges(x), "expected rank 4"),
        (lambda x: ops.image.ssim(x[0], x), "Invalid image1 rank"),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act(np.zeros((4, 4, 3), "float32"))


def test_symbolic_shapes():
    x = keras.Input((8, 9, 3))
    assert ops.image.affine_transform(x, keras.Input((8,))).shape == (None, 8, 9, 3)
    assert ops.image.elastic_transform(x).shape == ops.image.gaussian_blur(x).shape == (None, 8, 9, 3)
    assert ops.image.sobel_edges(x).shape == (None, 8, 9, 3, 2)
    assert ops.image.map_coordinates(x, keras.KerasTensor((4, 5, 6)), 1).shape == (5, 6)
