"""Layers that change colours, against NumPy, colorsys and Pillow."""

import colorsys

import numpy as np
import pytest
from scipy import ndimage

from fastk import layers


def images(rng, count=3, size=7):
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def drawn(layer, x):
    """What a layer draws, as NumPy's arrays, and what it makes of it."""
    transformation = layer.get_random_transformation(x)
    values = {name: value.numpy() for name, value in transformation.items()}
    return values, layer.transform_images(x, transformation).numpy()


def test_contrast(rng):
    x = images(rng)
    values, outputs = drawn(layers.RandomContrast((0.5, 0.8), seed=1), x)
    mean = x.astype("float64").mean((1, 2), keepdims=True)
    np.testing.assert_allclose(outputs, np.clip((x - mean) * values["contrast_factor"] + mean, 0, 255), atol=1e-3)
    assert (values["contrast_factor"] >= 0.5).all() and (values["contrast_factor"] < 1.8).all()


def test_brightness(rng):
    x = images(rng)
    values, outputs = drawn(layers.RandomBrightness(0.4, seed=1), x)
    np.testing.assert_allclose(outputs, np.clip(x + values["rgb_delta"], 0, 255), atol=1e-3)
    assert (np.abs(values["rgb_delta"]) <= 102).all() and len(np.unique(values["rgb_delta"])) == 3


def through_hsv(pixel, change):
    return colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))


def test_hue_turns(rng):
    x = images(rng, size=3)
    values, outputs = drawn(layers.RandomHue(0.8, seed=1), x)
    for image, result, turn in zip(x, outputs, values["factor"], strict=True):
        expected = [through_hsv(p / 255, lambda h, s, v, t=turn: ((h + t) % 1, s, v)) for p in image.reshape(-1, 3)]
        np.testing.assert_allclose(result.reshape(-1, 3) / 255, expected, atol=1e-4)
    assert (np.abs(values["factor"]) <= 0.4).all()


def test_saturation(rng):
    x = images(rng, size=3) / 255
    layer = layers.RandomSaturation((0.2, 0.8), value_range=(0, 1), seed=1)
    values, outputs = drawn(layer, x)
    for image, result, factor in zip(x, outputs, values["factor"], strict=True):
        expected = [through_hsv(p, lambda h, s, v, f=factor: (h, min(s * f, 1), v)) for p in image.reshape(-1, 3)]
        np.testing.assert_allclose(result.reshape(-1, 3), expected, atol=1e-4)


def test_sharpness(rng):
    x = images(rng)
    values, outputs = drawn(layers.RandomSharpness((0.1, 0.9), seed=1), x)
    kernel = np.full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    smooth = np.stack([ndimage.correlate(image.astype("float64"), kernel[..., None], mode="constant") for image in x])
    factor = 1 - 2 * values["factor"].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(outputs, np.clip(x + factor * (smooth - x), 0, 255), atol=1e-3)


def test_degeneration_and_grayscale(rng):
    x = images(rng)
    grey = (x.astype("float64") @ [0.2989, 0.587, 0.114])[..., None]
    values, outputs = drawn(layers.RandomColorDegeneration((0.2, 0.9), seed=1), x)
    np.testing.assert_allclose(outputs, np.clip(x + values["factor"] * (grey - x), 0, 255), atol=1e-3)
    np.testing.assert_allclose(layers.RandomGrayscale(1.0)(x, training=True), grey + np.zeros((1, 1, 1, 3)), atol=1e-3)
    np.testing.assert_array_equal(layers.RandomGrayscale(0.0)(x, training=True), x)


def test_posterization_keeps_the_first_bits():
    from PIL import Image, ImageOps

    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype("uint8")
    for bits in (1, 3, 8):
        expected = np.asarray(ImageOps.posterize(Image.fromarray(x[0]), bits))
        np.testing.assert_array_equal(layers.RandomPosterization([bits, bits])(x, training=True)[0], expected)


def test_solarization_inverts_what_is_bright():
    from PIL import Image, ImageOps

    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype("uint8")
    layer = layers.Solarization(threshold_factor=(1.0, 1.0))
    transformation = {"additions": np.zeros((1, 1, 1, 1)), "thresholds": np.full((1, 1, 1, 1), 100.0)}
    expected = np.asarray(ImageOps.solarize(Image.fromarray(x[0]), 100))
    np.testing.assert_array_equal(layer.transform_images(x, transformation)[0], expected)


def test_auto_contrast_stretches_each_channel():
    from PIL import Image, ImageOps

    x = np.random.default_rng(0).integers(60, 180, (2, 8, 8, 3)).astype("uint8")
    outputs = layers.AutoContrast()(x).numpy()
    for image, result in zip(x, outputs, strict=True):
        np.testing.assert_allclose(result, np.asarray(ImageOps.autocontrast(Image.fromarray(image))), atol=1.0)
    flat = np.full((1, 4, 4, 3), 7, "uint8")
    np.testing.assert_array_equal(layers.AutoContrast()(flat), flat)


def test_equalization_maps_shades_to_their_rank_in_the_batch():
    x = np.random.default_rng(0).normal(120, 20, (2, 16, 16, 3)).clip(0, 255).astype("uint8")
    outputs = layers.Equalization()(x, training=True).numpy()
    for channel in range(3):
        shades, counts = np.unique(x[..., channel], return_counts=True)
        below = counts.cumsum()
        mapped = np.round((below - below[0]) * 255 / (below[-1] - below[0]))
        np.testing.assert_array_equal(outputs[..., channel], mapped[np.searchsorted(shades, x[..., channel])])
    flat = np.full((1, 4, 4, 3), 7, "uint8")
    np.testing.assert_array_equal(layers.Equalization()(flat, training=True), flat)


def clahe_of_tile(pixels, limit):
    """What one tile maps its 256 shades to, from the definition."""
    counts = np.bincount(pixels.ravel(), minlength=256).astype("float64")
    clipped = np.minimum(counts, limit * pixels.size / 256)
    counts = clipped + (counts - clipped).sum() / 256
    below = counts.cumsum()
    return np.clip((below - below[0]) * 255 / (pixels.size - below[0]), 0, 255)


def test_clahe(rng):
    x = rng.integers(0, 256, (1, 16, 24, 1)).astype("float32")
    layer = layers.ContrastLimitedAdaptiveHistogramEqualization(clip_limit=3.0, tile_grid_size=(2, 3))
    tables = [
        [clahe_of_tile(x[0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8, 0].astype(int), 3.0) for j in range(3)]
        for i in range(2)
    ]
    expected = np.zeros((16, 24))
    for row in range(16):
        for column in range(24):
            y, z = (row - 4) / 8, (column - 4) / 8
            top, left = int(np.floor(y)), int(np.floor(z))
            for i, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
                for j, wx in ((left, 1 - (z - left)), (left + 1, z - left)):
                    table = tables[min(max(i, 0), 1)][min(max(j, 0), 2)]
                    expected[row, column] += wy * wx * table[int(x[0, row, column, 0])]
    np.testing.assert_allclose(layer(x)[0, ..., 0], expected, atol=1e-2)


def test_invert_and_its_probability(rng):
    x = rng.uniform(0, 1, (400, 2, 2, 3)).astype("float32")
    outputs = layers.RandomInvert((0.25, 0.25), value_range=(0, 1), seed=1)(x, training=True).numpy()
    inverted = np.array([np.allclose(o, 1 - i) for o, i in zip(outputs, x, strict=True)])
    assert np.array_equal(outputs[~inverted], x[~inverted])
    assert abs(inverted.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


def test_blur_is_a_gaussian(rng):
    x = images(rng, count=1, size=9)
    layer = layers.RandomGaussianBlur((1, 1), kernel_size=5, sigma=(0.4, 0.9), seed=1)
    values, outputs = drawn(layer, x)
    across, down = values["blur_factor"]
    places = np.arange(-2.0, 3.0)
    weights = [np.exp(-0.5 * (places / s) ** 2) / np.exp(-0.5 * (places / s) ** 2).sum() for s in (down, across)]
    expected = x[0].astype("float64")
    for axis, kernel in enumerate(weights):
        expected = ndimage.correlate1d(expected, kernel, axis=axis, mode="constant")
    np.testing.assert_allclose(outputs[0], expected, atol=1e-2)


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
def test_value_ranges_mean_the_same_pixels(value_range, rng):
    x = images(rng)
    low, high = value_range
    scaled = x / 255 * (high - low) + low
    for make in (
        lambda **kw: layers.RandomBrightness(0.4, seed=1, **kw),
        lambda **kw: layers.RandomContrast(0.4, seed=1, **kw),
        lambda **kw: layers.RandomHue(0.4, seed=1, **kw),
        lambda **kw: layers.Solarization(0.4, 0.4, seed=1, **kw),
        lambda **kw: layers.AutoContrast(**kw),
        lambda **kw: layers.Equalization(**kw),
    ):
        expected = make()(x, training=True).numpy() / 255 * (high - low) + low
        actual = make(value_range=value_range)(scaled, training=True).numpy()
        wrong = np.abs(actual - expected) > 1e-4 * (high - low)
        assert wrong.mean() < 0.02, "but for shades at the border of two bins"


def test_color_jitter_is_its_parts_one_after_the_other(rng):
    x = images(rng)
    layer = layers.RandomColorJitter(brightness_factor=(0.1, 0.1), contrast_factor=(0.0, 0.0), seed=1)
    np.testing.assert_allclose(layer(x, training=True), np.clip(x + 25.5, 0, 255), atol=1e-3)
