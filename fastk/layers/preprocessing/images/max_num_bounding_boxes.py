"""`MaxNumBoundingBoxes`: as many boxes for each image."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer


class MaxNumBoundingBoxes(BaseImagePreprocessingLayer):
    """Bounding boxes cut or padded to a number; images, labels and masks pass as they are. Also in inference.

    Args:
        max_number: how many boxes each image has afterwards.
        fill_value: of boxes, and their labels, that are added.

    >>> import fastk
    >>> layer = fastk.layers.MaxNumBoundingBoxes(2, bounding_box_format="xyxy")
    >>> boxes = {"boxes": [[[0.0, 0.0, 1.0, 1.0]]], "labels": [[1]]}
    >>> layer({"images": fastk.ops.ones((1, 4, 4, 3)), "bounding_boxes": boxes})["bounding_boxes"]["labels"].tolist()
    [[1, -1]]
    """

    always_active = True

    def __init__(self, max_number: int, fill_value: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_number = int(max_number)
        self.fill_value = int(fill_value)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images as they are."""
        return images

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks as they are."""
        return segmentation_masks

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes, `max_number` of them."""
        return super().transform_bounding_boxes(bounding_boxes, {}, training)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        boxes = bounding_boxes["boxes"][:, : self.max_number]
        labels = bounding_boxes["labels"][:, : self.max_number]
        missing = self.max_number - boxes.shape[1]
        boxes = F.pad(boxes, (0, 0, 0, missing), value=self.fill_value)
        return {**bounding_boxes, "boxes": boxes, "labels": F.pad(labels, (0, missing), value=self.fill_value)}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`, with the new number of boxes."""
        if not isinstance(input_shape, dict) or "bounding_boxes" not in input_shape:
            return input_shape
        shapes = input_shape["bounding_boxes"]
        extra = [key for key in shapes if key not in ("boxes", "labels")]
        if extra:
            raise KeyError(
                f"There are unsupported keys in `bounding_boxes`: {extra}. Only `boxes` and `labels` are supported."
            )
        resized = {key: (shape[0], self.max_number, *shape[2:]) for key, shape in shapes.items()}
        return {**input_shape, "bounding_boxes": resized}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "max_number": self.max_number, "fill_value": self.fill_value}
