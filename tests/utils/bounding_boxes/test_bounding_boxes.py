import itertools

import numpy as np
import pytest
import torch

from fastk.utils import bounding_boxes as geometry

HEIGHT, WIDTH = 40, 50
# One box in every format.
FORMATS = {
    "xyxy": [10, 4, 30, 20],
    "yxyx": [4, 10, 20, 30],
    "xywh": [10, 4, 20, 16],
    "center_xywh": [20, 12, 20, 16],
    "center_yxhw": [12, 20, 16, 20],
    "rel_xyxy": [0.2, 0.1, 0.6, 0.5],
    "rel_yxyx": [0.1, 0.2, 0.5, 0.6],
    "rel_xywh": [0.2, 0.1, 0.4, 0.4],
    "rel_center_xywh": [0.4, 0.3, 0.4, 0.4],
}


@pytest.mark.parametrize(("source", "target"), [*itertools.product(FORMATS, FORMATS)])
def test_every_format_to_every_other(source, target):
    boxes = np.array([[FORMATS[source]] * 2], "float32")
    result = geometry.convert_format(boxes, source, target, height=HEIGHT, width=WIDTH)
    np.testing.assert_allclose(result, np.array([[FORMATS[target]] * 2]), rtol=1e-6)


def test_dicts_are_left_as_they_are():
    given = {"boxes": np.array([FORMATS["xyxy"]], "float32"), "labels": [1]}
    result = geometry.convert_format(given, "xyxy", "xywh")
    assert result["labels"] == [1] and given["boxes"].tolist() == [FORMATS["xyxy"]]
    assert result["boxes"].tolist() == [FORMATS["xywh"]]


def test_clipping_marks_what_is_gone():
    boxes = np.array([[-5.0, 1, 5, 60], [60, 0, 70, 10]], "float32")
    result = geometry.clip_to_image_size({"boxes": boxes, "labels": np.array([3, 4])}, height=HEIGHT, width=WIDTH)
    assert result["boxes"].tolist() == [[0, 1, 5, 40], [50, 0, 50, 10]] and result["labels"].tolist() == [3, -1]


def test_crop_undoes_pad():
    boxes = np.array([[1.0, 2, 5, 6]], "float32")
    padded = geometry.pad(boxes, top=3, left=4)
    assert padded.tolist() == [[5, 5, 9, 9]]
    assert geometry.crop(padded, top=3, left=4, height=9, width=9).tolist() == boxes.tolist()


def test_affine_transform_is_upright_around_the_turned_corners():
    boxes = torch.tensor([[[10.0, 4.0, 30.0, 20.0]]])
    zero, one = torch.zeros(1), torch.ones(1)
    turned = geometry.affine_transform(boxes, torch.tensor([90.0]), zero, zero, one, zero, zero, HEIGHT, WIDTH)
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    corners = [(x - cx, y - cy) for x in (10, 30) for y in (4, 20)]
    x, y = zip(*[(cx + v, cy - u) for u, v in corners], strict=True)
    np.testing.assert_allclose(turned[0, 0], [min(x), min(y), max(x), max(y)], atol=1e-3)


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / area


@pytest.mark.parametrize("batched", [False, True])
def test_iou(batched, rng):
    corners = rng.uniform(0, 30, (2, 5, 4))
    first, second = (np.concatenate((c[:, :2], c[:, :2] + c[:, 2:]), axis=1) for c in corners)
    expected = np.array([[iou(a, b) for b in second] for a in first])
    if batched:
        first, second, expected = first[None], second[None], expected[None]
    np.testing.assert_allclose(geometry.compute_iou(first, second, "xyxy"), expected, atol=1e-5)


def test_iou_of_padding_is_masked():
    boxes = np.array([[0.0, 0, 2, 2], [-1, -1, -1, -1]])
    result = geometry.compute_iou(boxes, boxes, "xyxy", use_masking=True, mask_val=-7)
    np.testing.assert_allclose(result, [[1, -7], [-7, -7]], atol=1e-6)


def test_ciou_is_one_for_equal_boxes_and_falls_with_distance():
    box = np.array([[0.0, 0, 4, 4]])
    near, far = (geometry.compute_ciou(box, box + d, "xyxy").item() for d in (1.0, 9.0))
    assert geometry.compute_ciou(box, box, "xyxy").item() == pytest.approx(1, abs=1e-5)
    assert near == pytest.approx(9 / 23 - 2 / 50, abs=1e-5) and far == pytest.approx(-162 / 338, abs=1e-5)


@pytest.mark.parametrize("encoding", ["center_yxhw", "center_xywh"])
@pytest.mark.parametrize("variance", [None, [0.1, 0.1, 0.2, 0.2]])
def test_deltas_are_undone(encoding, variance, rng):
    corners = rng.uniform(1, 30, (2, 6, 4))
    anchors, boxes = (np.concatenate((c[:, :2], c[:, :2] + c[:, 2:]), axis=1) for c in corners)
    deltas = geometry.encode_box_to_deltas(anchors, boxes, "xyxy", "xyxy", encoding, variance)
    back = geometry.decode_deltas_to_boxes(anchors, deltas, "xyxy", "xyxy", encoding, variance)
    np.testing.assert_allclose(back, boxes, rtol=1e-4)
    levels = geometry.decode_deltas_to_boxes({"a": anchors}, {"a": deltas}, "xyxy", "xyxy", encoding, variance)
    np.testing.assert_array_equal(levels["a"], back)


BOX = np.zeros((1, 4), "float32")


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: geometry.convert_format(BOX[:, :3], "xyxy", "xywh"), ValueError, "last dimension of 4"),
        (lambda: geometry.convert_format(BOX, "xyz", "xywh"), ValueError, "Invalid source or target format"),
        (lambda: geometry.convert_format(BOX, "xyxy", "rel_xywh"), ValueError, "must receive `height` and `width`"),
        (lambda: geometry.clip_to_image_size({"boxes": BOX}), ValueError, "`height` and `width` must be set"),
        (lambda: geometry.crop(BOX, 0, 0, 1, 1, "xywh"), NotImplementedError, "convert_format"),
        (lambda: geometry.compute_iou(BOX[0], BOX, "xyxy"), ValueError, "boxes1 to be batched"),
        (lambda: geometry.compute_iou(BOX, BOX, "rel_xyxy"), ValueError, "`image_shape` argument must be provided"),
        (lambda: geometry.encode_box_to_deltas(BOX, BOX, "xyxy", "xyxy", "xywh"), ValueError, "`encoding_format`"),
        (lambda: geometry.encode_box_to_deltas(BOX, BOX, "xyxy", "xyxy", variance=[1.0]), ValueError, "length 4"),
    ],
)
def test_what_is_wrong_is_said(act, error, message):
    with pytest.raises(error, match=message):
        act()
