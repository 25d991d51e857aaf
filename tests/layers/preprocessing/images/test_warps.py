"""Layers that move pixels, against rotations, shifts and crops of NumPy; boxes against where marked pixels go."""

import numpy as np
import pytest
import torch

from fastk import layers, ops


def image(rng, size=9):
    return rng.uniform(0, 255, (1, size, size, 2)).astype("float32")


@pytest.mark.parametrize(("turns", "count"), [(0.25, 1), (0.5, 2), (-0.25, -1)])
def test_a_quarter_turn_is_that_of_numpy(turns, count, rng):
    x = image(rng)
    outputs = layers.RandomRotation((turns, turns), fill_mode="constant")(x, training=True)
    np.testing.assert_allclose(outputs, np.rot90(x, count, axes=(1, 2)), atol=0.02)


def test_translation_moves_down_and_to_the_right(rng):
    x = image(rng, 8)
    layer = layers.RandomTranslation((0.25, 0.25), (0.5, 0.5), fill_mode="constant", fill_value=-1.0)
    expected = np.full_like(x, -1.0)
    expected[:, 2:, 4:] = x[:, :-2, :-4]
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-3)
    wrapped = layers.RandomTranslation((0.25, 0.25), (0.5, 0.5), fill_mode="wrap")(x, training=True)
    np.testing.assert_allclose(wrapped, np.roll(x, (2, 4), axis=(1, 2)), atol=1e-3)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "symmetric"), ("nearest", "edge")])
def test_what_lies_outside(mode, numpy_mode, rng):
    x = image(rng, 8)
    outputs = layers.RandomTranslation((0.25, 0.25), (0.0, 0.0), fill_mode=mode)(x, training=True)
    padded = np.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0)), mode=numpy_mode)
    np.testing.assert_allclose(outputs, padded[:, :8], atol=1e-3)


def test_zooming_in_by_half_shows_the_middle(rng):
    x = image(rng, 9)
    outputs = layers.RandomZoom((-0.5, -0.5), fill_mode="constant")(x, training=True)
    np.testing.assert_allclose(outputs[:, ::2, ::2], x[:, 2:7, 2:7], atol=1e-3)


def test_shear_moves_rows_by_their_distance_from_the_top(rng):
    x = image(rng, 8)
    layer = layers.RandomShear(x_factor=(1.0, 1.0), fill_mode="wrap", interpolation="nearest")
    found = set()
    for _ in range(12):
        outputs = layer(x, training=True).numpy()
        for sign in (1, -1):
            rolled = np.stack([np.roll(x[0, row], -sign * row, axis=0) for row in range(8)])[None]
            found |= {sign} if np.array_equal(outputs, rolled) else set()
    assert found == {1, -1}


def test_a_flip_is_of_the_sides_that_the_mode_says(rng):
    x = rng.uniform(size=(64, 4, 5, 3)).astype("float32")
    for mode, axes in (("horizontal", (2,)), ("vertical", (1,)), ("horizontal_and_vertical", (1, 2))):
        outputs = layers.RandomFlip(mode, seed=1)(x, training=True).numpy()
        flipped = [np.array_equal(o, np.flip(i, tuple(a - 1 for a in axes))) for o, i in zip(outputs, x, strict=True)]
        kept = [np.array_equal(o, i) for o, i in zip(outputs, x, strict=True)]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))
        assert 16 < sum(flipped) < 48, "about half of them"


def test_perspective_takes_corners_to_where_they_were_drawn(rng):
    layer = layers.RandomPerspective(scale=0.5, seed=2)
    x = np.zeros((1, 41, 41, 1), "float32")
    transformation = layer.get_random_transformation(x)
    x[0, 38:, 38:] = 1.0  # a mark at the last corner, of which the end point says where it goes
    outputs = layer.transform_images(x, transformation)
    if bool(transformation["apply_perspective"][0]):
        end = transformation["end_points"][0, 3].numpy()
        value = ops.image.map_coordinates(outputs[0, ..., 0], [[end[1] - 0.5], [end[0] - 0.5]], order=1)
        inside = (end < 40).all()
        assert not inside or value.item() > 0.9


def marked(size, boxes):
    """Images (one a box) that are 1 inside the box and 0 outside."""
    x = np.zeros((len(boxes), size, size, 1), "float32")
    for i, (left, top, right, bottom) in enumerate(boxes):
        x[i, top:bottom, left:right] = 1.0
    return x


BOXES = [(4, 6, 12, 20), (10, 3, 25, 9), (0, 0, 5, 5), (20, 20, 31, 30)]


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip("horizontal", seed=3, bounding_box_format="xyxy"),
        layers.RandomFlip("vertical", seed=3, bounding_box_format="xyxy"),
        layers.RandomTranslation(0.3, 0.3, fill_mode="constant", seed=3, bounding_box_format="xyxy"),
        layers.RandomZoom(0.4, 0.3, fill_mode="constant", seed=3, bounding_box_format="xyxy"),
        layers.RandomRotation((0.25, 0.25), fill_mode="constant", bounding_box_format="xyxy"),
        layers.RandomCrop(24, 20, seed=3, bounding_box_format="xyxy"),
        layers.CenterCrop(24, 20, bounding_box_format="xyxy"),
        layers.CenterCrop(16, 64, bounding_box_format="xyxy"),
        layers.Resizing(16, 48, bounding_box_format="xyxy"),
        layers.Resizing(16, 48, pad_to_aspect_ratio=True, bounding_box_format="xyxy"),
        layers.Resizing(16, 48, crop_to_aspect_ratio=True, bounding_box_format="xyxy"),
        layers.RandomPerspective(scale=0.3, seed=4, bounding_box_format="xyxy"),
    ],
    ids=lambda layer: layer.name,
)
def test_boxes_go_where_their_pixels_go(layer):
    x = marked(32, BOXES)
    boxes = {"boxes": np.array(BOXES, "float32")[:, None], "labels": np.ones((4, 1), "int32")}
    outputs = layer({"images": x, "bounding_boxes": boxes}, training=True)
    moved = outputs["images"].numpy()[..., 0] > 0.5
    for mask, box in zip(moved, outputs["bounding_boxes"]["boxes"].numpy()[:, 0], strict=True):
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        if len(rows) < 2 or len(columns) < 2:
            continue
        found = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        np.testing.assert_allclose(box, found, atol=1.6)  # a pixel, and the half that interpolation moves a border by


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_yxyx", "rel_xywh"])
def test_every_format_of_boxes_means_the_same(box_format):
    from fastk.utils import bounding_boxes as geometry

    boxes = np.array([[[2.0, 3.0, 9.0, 8.0]]], "float32")
    x = np.zeros((1, 12, 10, 3), "float32")
    size = {"height": 12, "width": 10}
    given = geometry.convert_format(boxes, "xyxy", box_format, **size)
    for make in (
        lambda **kw: layers.RandomFlip(seed=1, **kw),
        lambda **kw: layers.RandomRotation(0.3, seed=1, **kw),
        lambda **kw: layers.RandomTranslation(0.3, 0.3, seed=1, **kw),
        lambda **kw: layers.RandomShear(0.3, seed=1, **kw),
        lambda **kw: layers.RandomPerspective(scale=0.3, seed=1, **kw),
    ):
        data = {"images": x, "bounding_boxes": {"boxes": boxes, "labels": [[1]]}}
        data["bounding_boxes"]["labels"] = np.ones((1, 1), "int32")
        expected = make(bounding_box_format="xyxy")(data, training=True)["bounding_boxes"]["boxes"]
        data["bounding_boxes"]["boxes"] = given
        actual = make(bounding_box_format=box_format)(data, training=True)["bounding_boxes"]["boxes"]
        np.testing.assert_allclose(geometry.convert_format(actual, box_format, "xyxy", **size), expected, atol=1e-4)


def test_masks_move_with_their_images_and_classes_do_not_mix(rng):
    classes = rng.integers(0, 5, (3, 16, 16, 1))
    data = {"images": classes.astype("float32"), "segmentation_masks": classes}
    for layer in (
        layers.RandomRotation(0.3, interpolation="nearest", seed=1),
        layers.RandomZoom(0.3, interpolation="nearest", seed=1),
        layers.RandomElasticTransform(interpolation="nearest", seed=1),
        layers.RandomCrop(7, 7, seed=1),
    ):
        outputs = layer(data, training=True)
        np.testing.assert_array_equal(outputs["images"], outputs["segmentation_masks"])


def test_a_crop_is_a_window_and_all_places_occur(rng):
    x = np.arange(6 * 5, dtype="float32").reshape(1, 6, 5, 1)
    layer = layers.RandomCrop(4, 4, seed=1)
    starts = {int(layer(x, training=True)[0, 0, 0, 0]) for _ in range(60)}
    assert starts == {0, 1, 5, 6, 10, 11}
    window = layer(x, training=True)[0, ..., 0].numpy()
    np.testing.assert_array_equal(window - window[0, 0], x[0, :4, :4, 0])


def test_elastic_displacements_are_smooth(rng):
    rows = np.broadcast_to(np.arange(64.0, dtype="float32")[:, None, None], (1, 64, 64, 1)).copy()
    layer = layers.RandomElasticTransform((1, 1), (1, 1), fill_mode="nearest", seed=3)
    moved = layer(rows, training=True)[0, ..., 0] - torch.as_tensor(rows[0, ..., 0])
    assert 0.05 < moved.abs().max() < 8
    assert moved.diff(dim=1).abs().max() < 0.5 * moved.abs().max(), "neighbours move alike"
