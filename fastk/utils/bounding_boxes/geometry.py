"""Boxes clipped, cropped, padded, transformed along with their images."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk.tensor import convert_to_tensor
from fastk.utils.bounding_boxes.formats import parts_of


def _require_xyxy(name: str, box_format: str, allowed: tuple[str, ...] = ("xyxy",)) -> None:
    if box_format not in allowed:
        raise NotImplementedError(
            f"`{name}` takes boxes in the format {' or '.join(map(repr, allowed))}. Received: "
            f"bounding_box_format={box_format!r}. Convert them with `convert_format` first."
        )


def _limited(boxes: torch.Tensor, width: Any, height: Any) -> torch.Tensor:
    """Coordinates between 0 and the image's size, which may be tensors that broadcast with the boxes' parts."""
    limits = (width, height, width, height)
    if all(isinstance(limit, (int, float)) for limit in (width, height)):
        parts = [part.clamp(0, limit) for part, limit in zip(parts_of(boxes), limits, strict=True)]
    else:
        tensors = [torch.as_tensor(limit, dtype=boxes.dtype, device=boxes.device) for limit in limits]
        parts = [part.clamp(min=0).minimum(limit) for part, limit in zip(parts_of(boxes), tensors, strict=True)]
    return torch.cat(parts, dim=-1)


def clip_to_image_size(
    bounding_boxes: dict[str, Any], height: Any = None, width: Any = None, bounding_box_format: str = "xyxy"
) -> dict[str, Any]:
    """Boxes cut at the border of their image; the labels of those of which nothing is left become -1.

    Args:
        bounding_boxes: a dict with `"boxes"` (..., 4) and, where there are any, `"labels"` (...).
        height, width: the image's size; not needed with `"rel_xyxy"`.
        bounding_box_format: `"xyxy"` or `"rel_xyxy"`.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.clip_to_image_size({"boxes": [[-1.0, 0.0, 9.0, 5.0]], "labels": [3]}, height=8, width=8)
    {'boxes': tensor([[0., 0., 8., 5.]]), 'labels': tensor([3], dtype=torch.int32)}
    """
    _require_xyxy("clip_to_image_size", bounding_box_format, ("xyxy", "rel_xyxy"))
    if bounding_box_format == "xyxy" and (height is None or width is None):
        raise ValueError("`height` and `width` must be set if `format='xyxy'`.")
    size = (width, height) if bounding_box_format == "xyxy" else (1.0, 1.0)
    boxes = _limited(convert_to_tensor(bounding_boxes["boxes"]), *size)
    result = {**bounding_boxes, "boxes": boxes}
    if bounding_boxes.get("labels") is not None:
        left, top, right, bottom = boxes.unbind(-1)
        area = (right - left) * (bottom - top)
        labels = convert_to_tensor(bounding_boxes["labels"])
        result["labels"] = torch.where(area > 0, labels, torch.full((), -1, dtype=labels.dtype, device=labels.device))
    return result


def crop(boxes: Any, top: Any, left: Any, height: Any, width: Any, bounding_box_format: str = "xyxy") -> torch.Tensor:
    """Boxes of an image of which a window is kept.

    Args:
        boxes: (..., 4), `"xyxy"`.
        top, left: where the window begins.
        height, width: its size.
        bounding_box_format: must be `"xyxy"`.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.crop([[2.0, 2.0, 9.0, 9.0]], top=1, left=2, height=4, width=4)
    tensor([[0., 1., 4., 4.]])
    """
    _require_xyxy("crop", bounding_box_format)
    return _limited(_moved(convert_to_tensor(boxes), -left, -top), width, height)


def pad(
    boxes: Any, top: Any, left: Any, height: Any = None, width: Any = None, bounding_box_format: str = "xyxy"
) -> torch.Tensor:
    """Boxes of an image that is padded.

    Args:
        boxes: (..., 4), `"xyxy"`.
        top, left: what is added before the image.
        height, width: the padded size, which changes nothing.
        bounding_box_format: must be `"xyxy"`.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.pad([[0.0, 1.0, 4.0, 4.0]], top=1, left=2)
    tensor([[2., 2., 6., 5.]])
    """
    _require_xyxy("pad", bounding_box_format)
    return _moved(convert_to_tensor(boxes), left, top)


def _moved(boxes: torch.Tensor, right: Any, down: Any) -> torch.Tensor:
    return torch.cat([part + by for part, by in zip(parts_of(boxes), (right, down) * 2, strict=True)], dim=-1)


def affine_transform(
    boxes: Any,
    angle: Any,
    translate_x: Any,
    translate_y: Any,
    scale: Any,
    shear_x: Any,
    shear_y: Any,
    height: Any,
    width: Any,
    center_x: Any = None,
    center_y: Any = None,
    bounding_box_format: str = "xyxy",
) -> torch.Tensor:
    """The upright boxes around boxes that are rotated, moved, scaled and sheared.

    Args:
        boxes: (batch, number, 4), `"xyxy"`.
        angle: (batch,), in degrees.
        translate_x, translate_y: (batch,), as shares of the image's size.
        scale: (batch,).
        shear_x, shear_y: (batch,), in degrees.
        height, width: the image's size.
        center_x, center_y: of the rotation, as shares of the size; by default the middle.
        bounding_box_format: must be `"xyxy"`.

    Returns:
        (batch, number, 4).
    """
    _require_xyxy("affine_transform", bounding_box_format)
    values: Any = [convert_to_tensor(v) for v in (angle, translate_x, translate_y, scale, shear_x, shear_y)]
    center = (0.5 if center_x is None else center_x, 0.5 if center_y is None else center_y)
    (a0, a1, a2), (b0, b1, b2) = _inverse_affine(*values, height=height, width=width, center=center)
    left, top, right, bottom = convert_to_tensor(boxes).to(a0.dtype).unbind(-1)
    x = torch.stack((left, right, right, left), dim=-1)  # [batch, number, corners]
    y = torch.stack((top, top, bottom, bottom), dim=-1)
    new_x, new_y = a0 * x + a1 * y + a2, b0 * x + b1 * y + b2
    return torch.stack((new_x.amin(-1), new_y.amin(-1), new_x.amax(-1), new_y.amax(-1)), dim=-1)


def _inverse_affine(
    angle: torch.Tensor,
    translate_x: torch.Tensor,
    translate_y: torch.Tensor,
    scale: torch.Tensor,
    shear_x: torch.Tensor,
    shear_y: torch.Tensor,
    height: Any,
    width: Any,
    center: tuple[Any, Any],
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """The two rows of the matrix, each element (batch, 1, 1)."""
    radians = 1.0 / 180.0 * math.pi
    cx, cy = center[0] * (width - 1), center[1] * (height - 1)
    rotation, skew_x, skew_y = -angle * radians, -shear_x * radians, -shear_y * radians
    moved_x, moved_y = cx - translate_x * (width - 1), cy - translate_y * (height - 1)
    a = torch.cos(rotation - skew_y) / torch.cos(skew_y)
    b = a * torch.tan(skew_x) + torch.sin(rotation)
    c = -torch.sin(rotation - skew_y) / torch.cos(skew_y)
    d = torch.cos(rotation) - c * torch.tan(skew_x)
    a0, a1, b0, b1 = d * scale, -b * scale, -c * scale, a * scale
    a2 = cx - a0 * moved_x - a1 * moved_y
    b2 = cy - b0 * moved_x - b1 * moved_y
    rows = ((a0, a1, a2), (b0, b1, b2))
    return tuple(tuple(v[:, None, None] for v in row) for row in rows)  # type: ignore[return-value]
