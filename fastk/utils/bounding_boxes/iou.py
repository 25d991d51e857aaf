"""How far boxes overlap."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk import config
from fastk.tensor import convert_to_tensor
from fastk.utils.bounding_boxes.formats import convert_format


def _in_xyxy(boxes: Any, box_format: str, image_shape: Any) -> torch.Tensor:
    height, width = (None, None) if image_shape is None else tuple(image_shape)[:2]
    return convert_format(boxes, source=box_format, target="xyxy", height=height, width=width)


def _check_shares(box_format: str, refused: bool, image_shape: Any) -> None:
    if "rel" in box_format and refused:
        raise ValueError(
            "When using relative bounding box formats (e.g. `rel_yxyx`) the `image_shape` argument must be provided."
            f"Received `image_shape`: {image_shape}"
        )


def compute_iou(
    boxes1: Any,
    boxes2: Any,
    bounding_box_format: str,
    use_masking: bool = False,
    mask_val: float = -1,
    image_shape: Any = None,
) -> torch.Tensor:
    """The intersection over union of each box of one set with each of another.

    Args:
        boxes1: (M, 4) or (batch, M, 4).
        boxes2: (N, 4) or (batch, N, 4).
        bounding_box_format: as in `convert_format`.
        use_masking: whether pairs with a box that is padding (its coordinates negative) get `mask_val`.
        mask_val: their value.
        image_shape: (height, width, channels); needed for formats in shares of it.

    Returns:
        (M, N), or (batch, M, N) where either is batched.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.compute_iou([[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]], "xyxy")
    tensor([[1.0000, 0.3333]])
    """
    boxes1, boxes2 = convert_to_tensor(boxes1), convert_to_tensor(boxes2)
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        if boxes.ndim not in (2, 3):
            raise ValueError(
                f"compute_iou() expects {name} to be batched, or to be unbatched. Received len(boxes1.shape)="
                f"{boxes1.ndim}, len(boxes2.shape)={boxes2.ndim}. Expected either len({name}.shape)=2 AND or "
                f"len({name}.shape)=3."
            )
    _check_shares(bounding_box_format, image_shape is None, image_shape)
    first = _in_xyxy(boxes1, bounding_box_format, image_shape).unsqueeze(-2)  # [..., M, 1, 4]
    second = _in_xyxy(boxes2, bounding_box_format, image_shape).unsqueeze(-3)  # [..., 1, N, 4]
    sides = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(
        min=0
    )
    intersection = sides.prod(-1)
    union = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - intersection
    result = intersection / (union + config.epsilon())
    if not use_masking:
        return result
    padding = (first.amax(-1) < 0.0) | (second.amax(-1) < 0.0)
    return torch.where(padding, mask_val, result)


def compute_ciou(boxes1: Any, boxes2: Any, bounding_box_format: str, image_shape: Any = None) -> torch.Tensor:
    """The complete intersection over union of pairs of boxes: overlap, less the distance of centres and of shapes.

    Source: Zheng et al., 2020, "Distance-IoU loss".

    Args:
        boxes1, boxes2: (..., 4), which broadcast.
        bounding_box_format: as in `convert_format`, but for those in shares of the image's size.
        image_shape: (height, width, channels).

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.compute_ciou([[0.0, 0.0, 2.0, 2.0]], [[1.0, 0.0, 3.0, 2.0]], "xyxy")
    tensor([0.2564])
    """
    _check_shares(bounding_box_format, True, image_shape)
    epsilon = config.epsilon()
    left1, top1, right1, bottom1 = _in_xyxy(boxes1, bounding_box_format, image_shape).unbind(-1)
    left2, top2, right2, bottom2 = _in_xyxy(boxes2, bounding_box_format, image_shape).unbind(-1)
    width1, height1 = right1 - left1, bottom1 - top1 + epsilon
    width2, height2 = right2 - left2, bottom2 - top2 + epsilon
    intersection = (torch.minimum(right1, right2) - torch.maximum(left1, left2)).clamp(min=0) * (
        torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2)
    ).clamp(min=0)
    union = width1 * height1 + width2 * height2 - intersection + epsilon
    iou = intersection / (union + epsilon)
    hull_width = torch.maximum(right1, right2) - torch.minimum(left1, left2)
    hull_height = torch.maximum(bottom1, bottom2) - torch.minimum(top1, top2)
    diagonal = hull_width**2 + hull_height**2 + epsilon
    distance = ((left1 + right1) / 2 - (left2 + right2) / 2) ** 2 + ((top1 + bottom1) / 2 - (top2 + bottom2) / 2) ** 2
    v = 4 / math.pi**2 * (torch.atan(width2 / height2) - torch.atan(width1 / height1)) ** 2
    alpha = v / (v - iou + (1 + epsilon))
    return iou - (distance / diagonal + v * alpha)
