"""Layers that give images another size: `Resizing`, `CenterCrop`, `RandomCrop`."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer, placed
from fastk.random.seed_generator import make_default_seed
from fastk.tensor import convert_to_tensor
from fastk.utils import bounding_boxes as geometry


def ratio_window(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the greatest central window with the target's aspect ratio."""
    window_height = max(min(height, int(float(width * target_height) / target_width)), 1)
    window_width = max(min(width, int(float(height * target_width) / target_height)), 1)
    top, left = int(float(height - window_height) / 2), int(float(width - window_width) / 2)
    return top, left, window_height, window_width


class Resizing(BaseImagePreprocessingLayer):
    """Images in another size, in training and inference; their dtype stays.

    Args:
        height, width: the new size.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        crop_to_aspect_ratio: cut images to the new aspect ratio first, around their centre.
        pad_to_aspect_ratio: extend them to the new aspect ratio first.
        fill_mode: must be `"constant"`.
        fill_value: what is added by `pad_to_aspect_ratio`.
        antialias: whether a smaller image is smoothed first.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.Resizing(2, 3)(fastk.ops.ones((5, 8, 8, 1))).shape
    torch.Size([5, 2, 3, 1])
    """

    keeps_shape = False
    always_active = True

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.height = height
        self.width = width
        self.interpolation = interpolation
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.antialias = bool(antialias)

    def _draw(self, images: Any, seed: Any) -> tuple[int, int]:
        return self._size_of(images)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, resized."""
        return self._transform_images(convert_to_tensor(images), transformation, self.interpolation)

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        return ops.image.resize(
            images,
            (self.height, self.width),
            interpolation=interpolation,
            antialias=self.antialias,
            crop_to_aspect_ratio=self.crop_to_aspect_ratio,
            pad_to_aspect_ratio=self.pad_to_aspect_ratio,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The masks, resized, each element the nearest one."""
        return self._transform_images(convert_to_tensor(segmentation_masks), transformation, "nearest")

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        height, width = transformation
        given = bounding_boxes["boxes"]
        padding = ((given == -1).all(-1) | (given == 0).all(-1)).unsqueeze(-1)
        boxes = self._in_xyxy(bounding_boxes, height, width)["boxes"]
        result = {**bounding_boxes, "boxes": placed(boxes, *self._placement(height, width))}
        result = geometry.clip_to_image_size(result, height=self.height, width=self.width)
        result["boxes"] = torch.where(padding, 0.0, result["boxes"])
        return self._in_own_format(result, self.height, self.width)

    def _placement(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Where a box goes: (scale_x, scale_y, left, top)."""
        scale_x, scale_y = self.width / width, self.height / height
        if self.pad_to_aspect_ratio:
            scale = min(scale_x, scale_y)
            # Rounded, so that of the side that is filled nothing is left over.
            left, top = (self.width - round(width * scale, 3)) // 2, (self.height - round(height * scale, 3)) // 2
            return scale, scale, left, top
        if self.crop_to_aspect_ratio:
            ratio = width / height
            wide = ratio > self.width / self.height
            new_width = self.height * ratio if wide else self.width
            new_height = self.height if wide else self.width / ratio
            left, top = -((new_width - self.width) // 2), -((new_height - self.height) // 2)
            return new_width / width, new_height / height, left, top
        return scale_x, scale_y, 0.0, 0.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }


class CenterCrop(BaseImagePreprocessingLayer):
    """The middle of images; images smaller than it are cut to its aspect ratio and resized. Also in inference.

    Args:
        height, width: the new size.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.CenterCrop(1, 1)(fastk.ops.reshape(fastk.ops.arange(9.0), (3, 3, 1))).tolist()
    [[[4.0]]]
    """

    keeps_shape = False
    always_active = True

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.height = height
        self.width = width

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        return {"input_shape": tuple(images.shape)}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The middle of the images."""
        images = self._images(images)
        top, left, height, width = self._window(*self._size_of(images))
        images = images.narrow(self.height_axis, top, height).narrow(self.width_axis, left, width)
        if (height, width) == (self.height, self.width):
            return images
        return ops.image.resize(images, (self.height, self.width), data_format=self.data_format)

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        if height >= self.height and width >= self.width:
            return (height - self.height) // 2, (width - self.width) // 2, self.height, self.width
        return ratio_window(height, width, self.height, self.width)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The middle of the masks."""
        return self.transform_images(segmentation_masks, transformation, training=training)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        window = self._window(height, width)
        return self._boxes_of_window(bounding_boxes, height, width, window)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "height": self.height, "width": self.width}


class RandomCrop(BaseImagePreprocessingLayer):
    """A window of the images at a random place, one for the batch, in training; smaller images are resized.

    In inference images pass as they are. Boxes move with the window.

    Args:
        height, width: the window's size.
        seed: an integer makes the places the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomCrop(2, 2)(fastk.ops.ones((5, 8, 8, 1)), training=True).shape
    torch.Size([5, 2, 2, 1])
    """

    keeps_shape = False

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, name=name, **kwargs)
        self.height = height
        self.width = width
        self._seeded(make_default_seed() if seed is None else seed)

    def _draw(self, images: Any, seed: Any) -> tuple:
        height, width = self._size_of(images)
        if height is None or width is None:
            raise ValueError(
                "RandomCrop requires the input to have a fully defined height and width. Received: "
                f"images.shape={tuple(images.shape)}"
            )
        if height > self.height and width > self.width:
            places = [draws.integers((), 0, n, seed) for n in (height - self.height + 1, width - self.width + 1)]
            return (*places, height, width)
        top, left, _, _ = ratio_window(height, width, self.height, self.width)
        return top, left, height, width

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        starts = zip(transformation, (self.height, self.width), (self.height_axis, self.width_axis), strict=False)
        for start, size, axis in starts:
            if isinstance(start, int):
                images = images.narrow(axis, start, min(size, images.shape[axis] - start))
            else:  # a place that the host does not know
                index = torch.arange(size, device=images.device) + convert_to_tensor(start)
                images = images.index_select(axis, index)
        if self._size_of(images) != (self.height, self.width):
            images = ops.image.resize(images, (self.height, self.width), data_format=self.data_format)
        return images

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The window of the masks."""
        return self.transform_images(segmentation_masks, transformation, training=training)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        top, left, *size = transformation
        height, width = size or (self.height, self.width)
        whole = not isinstance(top, int)
        window = (self.height, self.width) if whole else (min(self.height, height - top), min(self.width, width - left))
        return self._boxes_of_window(bounding_boxes, height, width, (top, left, *window))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "height": self.height, "width": self.width, "seed": self.seed}
