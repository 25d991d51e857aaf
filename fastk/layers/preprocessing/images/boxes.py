"""Bounding boxes as augmentation layers take them: a dict of boxes and labels, dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk.tensor import convert_to_tensor

BOX_PADDING = 0.0
LABEL_PADDING = -1


def dense_boxes(bounding_boxes: Any) -> dict[str, Any]:
    """`{"boxes": float32 (..., 4), "labels": ...}`, a new dict; nested lists of unequal lengths are padded.

    Raises:
        ValueError: another structure, or ranks that do not fit.
    """
    if not isinstance(bounding_boxes, dict) or "labels" not in bounding_boxes or "boxes" not in bounding_boxes:
        raise ValueError(
            "Expected `bounding_boxes` argument to be a dict with keys 'boxes' and 'labels'. Received: "
            f"bounding_boxes={bounding_boxes}"
        )
    boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
    if isinstance(boxes, list):
        boxes, labels = _from_lists(boxes, labels)
    boxes, labels = convert_to_tensor(boxes, dtype="float32"), convert_to_tensor(labels)
    if boxes.ndim not in (2, 3):
        raise ValueError(
            "Expected `bounding_boxes['boxes']` to have rank 2 or 3, with shape (num_boxes, 4) or (batch_size, "
            f"num_boxes, 4). Received: bounding_boxes['boxes'].shape={tuple(boxes.shape)}"
        )
    if labels.ndim not in (boxes.ndim - 1, boxes.ndim):
        raise ValueError(
            f"Found bounding_boxes['boxes'].shape={tuple(boxes.shape)} and expected bounding_boxes['labels'] to have "
            f"rank {boxes.ndim - 1} or {boxes.ndim}, but received: bounding_boxes['labels'].shape="
            f"{tuple(labels.shape)}"
        )
    return {**bounding_boxes, "boxes": boxes, "labels": labels}


def _from_lists(boxes: list, labels: Any) -> tuple[Any, Any]:
    if not isinstance(labels, list):
        raise ValueError(
            "If `bounding_boxes['boxes']` is a list, then `bounding_boxes['labels']` must also be a list. Received: "
            f"bounding_boxes['labels']={labels}"
        )
    if len(boxes) != len(labels):
        raise ValueError(
            "If `bounding_boxes['boxes']` and `bounding_boxes['labels']` are both lists, they must have the same "
            f"length. Received: len(bounding_boxes['boxes'])={len(boxes)} and len(bounding_boxes['labels'])="
            f"{len(labels)}"
        )
    if not boxes or not isinstance(boxes[0], (list, tuple, np.ndarray, torch.Tensor)) or np.ndim(boxes[0]) < 2:
        return boxes, labels
    most = max(len(b) for b in boxes)
    padded = np.full((len(boxes), most, 4), BOX_PADDING, dtype="float32")
    padded_labels = np.full((len(boxes), most), LABEL_PADDING, dtype="int32")
    for i, (own, own_labels) in enumerate(zip(boxes, labels, strict=True)):
        if len(own):
            padded[i, : len(own)] = np.asarray(own, dtype="float32")
            padded_labels[i, : len(own)] = np.asarray(own_labels)
    return padded, padded_labels
