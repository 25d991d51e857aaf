"""Boxes as their distance from anchors, which is what detectors learn; and back."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config
from fastk.tensor import convert_to_tensor
from fastk.utils.bounding_boxes.formats import convert_format

_ENCODINGS = ("center_xywh", "center_yxhw")


def _checked(name: str, encoding: str, variance: Any, image_shape: Any) -> tuple[Any, dict[str, Any]]:
    """The variance as a tensor, and the image's size as arguments of `convert_format`."""
    if variance is not None:
        variance = convert_to_tensor(variance, dtype="float32")
        if variance.shape[-1] != 4:
            raise ValueError(f"`variance` must be length 4, got {variance}")
    if encoding not in _ENCODINGS:
        raise ValueError(f"`{name}` should be one of 'center_xywh' or 'center_yxhw', got {encoding}")
    height, width = (None, None) if image_shape is None else tuple(image_shape)[:2]
    return variance, {"height": height, "width": width}


def encode_box_to_deltas(
    anchors: Any,
    boxes: Any,
    anchor_format: str,
    box_format: str,
    encoding_format: str = "center_yxhw",
    variance: Any = None,
    image_shape: Any = None,
) -> torch.Tensor:
    """The shift from anchors to boxes in units of the anchors' size, and the logarithm of the sizes' ratio.

    Source: Ren et al., 2015, "Faster R-CNN", equation 2.

    Args:
        anchors, boxes: (..., 4).
        anchor_format, box_format: their formats, as in `convert_format`.
        encoding_format: `"center_yxhw"` or `"center_xywh"`: the order of the result.
        variance: four numbers that the result is divided by.
        image_shape: (height, width, channels); needed for formats in shares of it.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.encode_box_to_deltas([[0.0, 0.0, 2.0, 2.0]], [[1.0, 0.0, 3.0, 2.0]], "xyxy", "xyxy")
    tensor([[0.0000, 0.5000, 0.0000, 0.0000]])
    """
    variance, size = _checked("encoding_format", encoding_format, variance, image_shape)
    anchors = convert_format(anchors, source=anchor_format, target=encoding_format, **size)
    boxes = convert_format(boxes, source=box_format, target=encoding_format, **size)
    extents = anchors[..., 2:].clamp(min=config.epsilon())
    ratio = boxes[..., 2:].clamp(min=config.epsilon()) / extents
    shift = (boxes[..., :2] - anchors[..., :2]) / extents
    deltas = torch.cat((shift, ratio.log()), dim=-1)
    return deltas if variance is None else deltas / variance


def decode_deltas_to_boxes(
    anchors: Any,
    boxes_delta: Any,
    anchor_format: str,
    box_format: str,
    encoded_format: str = "center_yxhw",
    variance: Any = None,
    image_shape: Any = None,
) -> Any:
    """The inverse of `encode_box_to_deltas`.

    Args:
        anchors, boxes_delta: (..., 4), or dicts of them with equal keys.
        anchor_format, box_format: the anchors' format, and the result's.
        encoded_format: `"center_yxhw"` or `"center_xywh"`: the order of `boxes_delta`.
        variance: four numbers that the deltas are multiplied with.
        image_shape: (height, width, channels); needed for formats in shares of it.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.decode_deltas_to_boxes([[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.5, 0.0, 0.0]], "xyxy", "xyxy")
    tensor([[1., 0., 3., 2.]])
    """
    variance, size = _checked("encoded_format", encoded_format, variance, image_shape)

    def decoded(anchor: Any, deltas: Any) -> torch.Tensor:
        anchor = convert_format(anchor, source=anchor_format, target=encoded_format, **size)
        deltas = convert_to_tensor(deltas)
        deltas = deltas if variance is None else deltas * variance
        extents = anchor[..., 2:]
        centre = deltas[..., :2] * extents + anchor[..., :2]
        box = torch.cat((centre, deltas[..., 2:].exp() * extents), dim=-1)
        return convert_format(box, source=encoded_format, target=box_format, **size)

    if isinstance(anchors, dict) and isinstance(boxes_delta, dict):
        return {level: decoded(anchor, boxes_delta[level]) for level, anchor in anchors.items()}
    return decoded(anchors, boxes_delta)
