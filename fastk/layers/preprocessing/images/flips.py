"""`RandomFlip`: images mirrored at random."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.tensor import convert_to_tensor
from fastk.utils import bounding_boxes as geometry

_MODES = ("horizontal", "vertical", "horizontal_and_vertical")


class RandomFlip(BaseImagePreprocessingLayer):
    """Half of the images, at random, mirrored; in training.

    Args:
        mode: `"horizontal"` (left to right), `"vertical"`, or `"horizontal_and_vertical"`: both at once.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> layer = fastk.layers.RandomFlip("horizontal", seed=1)
    >>> x = fastk.ops.reshape(fastk.ops.arange(2.0), (1, 2, 1))
    >>> sorted({tuple(layer(x, training=True).flatten().tolist()) for _ in range(20)})
    [(0.0, 1.0), (1.0, 0.0)]
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        if mode not in _MODES:
            raise ValueError(f"Unknown `mode`. Expected one of {_MODES}. Received: mode={mode!r}")
        self.mode = mode
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        flips = draws.uniform(self._per_image(images), 0.0, 1.0, seed) <= 0.5
        return {"flips": flips, "input_shape": tuple(images.shape)}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        axes = []
        if self.mode != "vertical":
            axes.append(self.width_axis)
        if self.mode != "horizontal":
            axes.append(self.height_axis)
        batch = images if images.ndim == 4 else images.unsqueeze(0)
        batch = torch.where(convert_to_tensor(transformation["flips"]), batch.flip(axes), batch)
        return batch if images.ndim == 4 else batch.squeeze(0)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The masks, mirrored with their images."""
        return self.transform_images(segmentation_masks, transformation, training=training)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        flips = convert_to_tensor(transformation["flips"]).squeeze(-1)
        result = self._in_xyxy(bounding_boxes, height, width, "rel_xyxy")
        left, top, right, bottom = result["boxes"].split(1, dim=-1)
        if self.mode != "vertical":
            left, right = torch.where(flips, 1 - right, left), torch.where(flips, 1 - left, right)
        if self.mode != "horizontal":
            top, bottom = torch.where(flips, 1 - bottom, top), torch.where(flips, 1 - top, bottom)
        result["boxes"] = torch.cat((left, top, right, bottom), dim=-1)
        result = geometry.clip_to_image_size(result, bounding_box_format="rel_xyxy")
        return self._in_own_format(result, height, width, "rel_xyxy")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mode": self.mode, "seed": self.seed}
