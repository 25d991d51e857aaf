"""`BaseImagePreprocessingLayer`: what layers that change images share.

A layer draws a transformation for a batch (`get_random_transformation`) and applies it to images, labels, bounding
boxes and segmentation masks alike. A subclass writes `_draw`, `_transform_images` and, where boxes move,
`_transform_boxes`. All of it is done a batch at a time, on the images' device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import config as settings
from fastk import dtypes
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import factor_range
from fastk.layers.preprocessing.images.boxes import dense_boxes
from fastk.random import SeedGenerator
from fastk.tensor import convert_to_tensor
from fastk.utils import bounding_boxes as geometry

_KEYS = ("images", "labels", "segmentation_masks", "bounding_boxes")


class BaseImagePreprocessingLayer(Layer):
    """A layer that takes a batch of images, one image, or a dict with `"images"` and what belongs to them.

    Args:
        factor: a number or a range, for layers that have one.
        bounding_box_format: how the dict's `"bounding_boxes"` are written; see
            `keras.utils.bounding_boxes.convert_format`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
    """

    # What a `factor` must lie in; None for a layer that has none.
    factor_bounds: tuple[float, float] | None = None
    interpolation: str = "bilinear"
    # Whether the images' shape stays, and whether masks and boxes stay where they are.
    keeps_shape = True
    moves_pixels = True
    # Whether the layer does its work in inference too.
    always_active = False

    def __init__(
        self, factor: Any = None, bounding_box_format: str | None = None, data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.bounding_box_format = bounding_box_format
        self.data_format = settings.standardize_data_format(data_format)
        channels_last = self.data_format == "channels_last"
        self.height_axis, self.width_axis, self.channel_axis = (-3, -2, -1) if channels_last else (-2, -1, -3)
        if self.factor_bounds is not None:
            self.factor: Any = factor_range(
                0.0 if factor is None else factor,
                bounds=self.factor_bounds,
                lowest=self.factor_bounds[0],
                overlapping=True,
            )
        elif factor is not None:
            raise ValueError(
                f"Layer {type(self).__name__} does not take a `factor` argument. Received: factor={factor}"
            )
        # Numbers of images keep their dtype until a layer casts them; arrays are converted in `__call__`.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def _seeded(self, seed: Any) -> None:
        self.seed = seed
        self.generator = SeedGenerator(seed)

    # ------------------------------------------------------------ calls

    def __call__(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer on arrays, tensors, or a dict of them, which is left as it is."""
        return super().__call__(self._as_tensors(data), *args, **kwargs)

    def _as_tensors(self, data: Any) -> Any:
        if not isinstance(data, dict):
            return self._as_tensor(data)
        if "images" not in data:
            raise ValueError(
                f"Layer {type(self).__name__} takes a tensor of images, or a dict with the keys {_KEYS}, of which "
                f"'images' is needed. Received a dict with the keys {list(data)}."
            )
        result = dict(data)
        for key in _KEYS:
            if key not in data:
                continue
            value = data[key]
            if key != "bounding_boxes":
                result[key] = self._as_tensor(value)
            elif isinstance(value, dict) and isinstance(value.get("boxes"), KerasTensor):
                result[key] = dict(value)
            else:
                result[key] = dense_boxes(value)
        return result

    def _as_tensor(self, x: Any) -> Any:
        if isinstance(x, KerasTensor):
            return x
        x = convert_to_tensor(x)
        return x.to(self._torch_input_dtype()) if self.autocast and x.is_floating_point() else x

    def call(self, data: Any, training: bool = True) -> Any:
        """`data`, transformed: all of a dict's entries by the same transformation."""
        transformation = self.get_random_transformation(data, training=training)
        arguments = {"transformation": transformation, "training": training}
        if not isinstance(data, dict):
            return self._transform_one_or_many(data, arguments)
        data = dict(data)
        batched = self._is_batched(data["images"])
        data["images"] = self._transform_one_or_many(data["images"], arguments)
        if "bounding_boxes" in data:
            if not self.bounding_box_format:
                raise ValueError(
                    "You passed an input with a 'bounding_boxes' key, but you didn't specify a bounding box format. "
                    f"Pass a `bounding_box_format` argument to your {type(self).__name__} layer, e.g. "
                    "`bounding_box_format='xyxy'`."
                )
            transform: Any = self.transform_bounding_boxes if batched else self.transform_single_bounding_box
            data["bounding_boxes"] = transform(data["bounding_boxes"], **arguments)
        if "labels" in data:
            transform = self.transform_labels if batched else self.transform_single_label
            data["labels"] = transform(data["labels"], **arguments)
        if "segmentation_masks" in data:
            transform = self.transform_segmentation_masks if batched else self.transform_single_segmentation_mask
            data["segmentation_masks"] = transform(data["segmentation_masks"], **arguments)
        return data

    def _transform_one_or_many(self, images: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor:
        return (self.transform_images if self._is_batched(images) else self.transform_single_image)(images, **arguments)

    def _is_batched(self, images: Any) -> bool:
        if len(images.shape) not in (3, 4):
            raise ValueError(
                "Expected image tensor to have rank 3 (single image) or 4 (batch of images). Received: "
                f"data.shape={tuple(images.shape)}"
            )
        return len(images.shape) == 4

    # ------------------------------------------------------------ transformations

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What is applied to a batch, drawn anew; None where nothing is.

        Args:
            data: the images, or the dict that has them.
            training: whether this is training.
            seed: an integer or a `SeedGenerator`; by default the layer's own.
        """
        if not (training or self.always_active):
            return None
        images = data["images"] if isinstance(data, dict) else data
        if not hasattr(images, "shape"):
            images = np.asarray(images)
        if seed is None:
            seed = getattr(self, "generator", None)
        return self._draw(images, seed)

    def _draw(self, images: Any, seed: Any) -> Any:
        return {}

    def _batch_size(self, images: Any) -> int:
        if len(images.shape) not in (3, 4):
            raise ValueError(f"Expected the input image to be rank 3 or 4. Received inputs.shape={tuple(images.shape)}")
        return images.shape[0] if len(images.shape) == 4 else 1

    def _per_image(self, images: Any) -> tuple[int, ...]:
        """The shape of one number an image, which broadcasts with the images."""
        return (self._batch_size(images), 1, 1, 1) if len(images.shape) == 4 else (1, 1, 1)

    def _size_of(self, images: Any) -> tuple[int, int]:
        self._batch_size(images)
        return images.shape[self.height_axis], images.shape[self.width_axis]

    def _happens(self, images: Any, seed: Any) -> torch.Tensor:
        """(batch,) bool: with a probability that is drawn from `factor` for each image."""
        shape = (self._batch_size(images),)
        probability = draws.within(shape, self.factor, seed)
        return draws.uniform(shape, 0.0, 1.0, seed) < probability

    def _images(self, images: Any) -> torch.Tensor:
        """`images` as a tensor of the compute dtype."""
        return convert_to_tensor(images, dtype=self.compute_dtype)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """A batch of images, transformed."""
        images = self._images(images)
        if (training or self.always_active) and transformation is not None:
            images = self._transform_images(images, transformation, self.interpolation)
        return images

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say how it transforms images.")

    def transform_labels(self, labels: Any, transformation: Any = None, training: bool = True) -> Any:
        """The labels that belong to transformed images."""
        return labels

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """A batch's bounding boxes, transformed: a new dict."""
        bounding_boxes = dense_boxes(bounding_boxes)
        if self.moves_pixels and (training or self.always_active) and transformation is not None:
            return self._transform_boxes(bounding_boxes, transformation)
        return bounding_boxes

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        raise NotImplementedError(f"Layer {type(self).__name__} does not transform bounding boxes.")

    def _in_xyxy(self, bounding_boxes: dict[str, Any], height: Any, width: Any, target: str = "xyxy") -> dict[str, Any]:
        """Boxes of images of a size in another format than the layer's, by default as left, top, right, bottom."""
        source = self.bounding_box_format or target
        return geometry.convert_format(bounding_boxes, source, target, height=height, width=width)

    def _in_own_format(
        self, bounding_boxes: dict[str, Any], height: Any, width: Any, source: str = "xyxy"
    ) -> dict[str, Any]:
        """The inverse of `_in_xyxy`."""
        target = self.bounding_box_format or source
        return geometry.convert_format(bounding_boxes, source, target, height=height, width=width)

    def _boxes_of_window(self, bounding_boxes: dict[str, Any], height: int, width: int, window: Any) -> dict[str, Any]:
        """The boxes of images of which a window (top, left, height, width) is kept, and resized to the layer's size."""
        top, left, window_height, window_width = window
        result = self._in_xyxy(bounding_boxes, height, width)
        boxes = geometry.crop(result["boxes"], top, left, window_height, window_width)
        size: tuple[int, int] = (self.height, self.width)  # type: ignore[attr-defined]
        if (window_height, window_width) != size:
            boxes = placed(boxes, size[1] / window_width, size[0] / window_height)
        result = geometry.clip_to_image_size({**result, "boxes": boxes}, height=size[0], width=size[1])
        return self._in_own_format(result, *size)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """A batch's masks, transformed, without mixing classes."""
        if not (self.moves_pixels and (training or self.always_active) and transformation is not None):
            return segmentation_masks
        return self._transform_images(convert_to_tensor(segmentation_masks), transformation, "nearest")

    def transform_single_image(self, image: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """`transform_images` of one image."""
        images = convert_to_tensor(image).unsqueeze(0)
        return self.transform_images(images, transformation=transformation, training=training).squeeze(0)

    def transform_single_label(self, label: Any, transformation: Any = None, training: bool = True) -> Any:
        """`transform_labels` of one image's label."""
        labels = convert_to_tensor(label).unsqueeze(0)
        return self.transform_labels(labels, transformation=transformation, training=training).squeeze(0)

    def transform_single_bounding_box(
        self, bounding_box: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """`transform_bounding_boxes` of one image's boxes."""
        many = {k: v.unsqueeze(0) if k in ("boxes", "labels") else v for k, v in dense_boxes(bounding_box).items()}
        result = self.transform_bounding_boxes(many, transformation=transformation, training=training)
        return {k: v.squeeze(0) if k in ("boxes", "labels") else v for k, v in result.items()}

    def transform_single_segmentation_mask(
        self, segmentation_mask: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """`transform_segmentation_masks` of one image's mask."""
        masks = convert_to_tensor(segmentation_mask).unsqueeze(0)
        return self.transform_segmentation_masks(masks, transformation=transformation, training=training).squeeze(0)

    # ------------------------------------------------------------ shapes and configuration

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`, or (of a dict) that of each entry."""
        if self.keeps_shape:
            return input_shape
        if isinstance(input_shape, dict):
            resized = {k: self._resized(v) for k, v in input_shape.items() if k in ("images", "segmentation_masks")}
            return {**input_shape, **resized}
        return self._resized(input_shape)

    def _resized(self, shape: Any) -> tuple:
        """The shape of images with the layer's `height` and `width`."""
        sizes = list(shape)
        if len(sizes) not in (3, 4) or any(isinstance(n, (list, tuple)) for n in sizes):
            raise ValueError(
                "`input_shape` must be a non-nested tuple or list of rank-1 with size 3 (unbatched) or 4 (batched). "
                f"Received: input_shape={shape}"
            )
        sizes[self.height_axis], sizes[self.width_axis] = self.height, self.width  # type: ignore[attr-defined]
        return tuple(sizes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "data_format": self.data_format}
        if self.bounding_box_format is not None:
            config["bounding_box_format"] = self.bounding_box_format
        return config

    # ------------------------------------------------------------ values

    def _scaled(self, images: torch.Tensor, source: Any, target: Any, dtype: Any = None) -> torch.Tensor:
        """Values of one range in another."""
        if source[0] == target[0] and source[1] == target[1]:
            return images
        images = images.to(dtypes.to_torch_dtype(self.compute_dtype if dtype is None else dtype))
        return (images - source[0]) / (source[1] - source[0]) * (target[1] - target[0]) + target[0]


def placed(boxes: torch.Tensor, scale_x: float, scale_y: float, left: float = 0.0, top: float = 0.0) -> torch.Tensor:
    """Boxes (left, top, right, bottom) scaled, then moved."""
    parts = zip(boxes.split(1, dim=-1), (scale_x, scale_y) * 2, (left, top) * 2, strict=True)
    return torch.cat([part * scale + shift for part, scale, shift in parts], dim=-1)
