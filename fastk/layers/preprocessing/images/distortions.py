"""`RandomPerspective` and `RandomElasticTransform`: images bent, each with a probability of its own."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import check_warp, factor_range
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.ops.image.warp import distorted, homography
from fastk.random.seed_generator import draw_seed
from fastk.tensor import convert_to_tensor
from fastk.utils import bounding_boxes as geometry


class RandomPerspective(BaseImagePreprocessingLayer):
    """Images seen from a random point; in training.

    Args:
        factor: a number, or a lower and an upper bound, of the probability that an image is changed.
        scale: how far the corners may move, between 0 and 1.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: what is outside.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomPerspective(scale=0.3)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        if not 0.0 <= scale <= 1.0:
            raise ValueError(f"The `scale` argument should be a number in the range [0,1]. Received: scale={scale}")
        check_warp(interpolation)
        self.scale = scale
        self.interpolation = interpolation
        self.fill_value = fill_value
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        dtype, size = self._torch_input_dtype(), self._batch_size(images)
        height, width = self._size_of(images)
        happens = self._happens(images, seed)
        moves = draws.uniform((size, 4, 2), -0.5 * self.scale, 0.5 * self.scale, seed, dtype)
        number = torch.arange(4, device=moves.device)
        start = torch.stack((number % 2 * (width - 1), number // 2 * (height - 1)), dim=-1).to(dtype).expand(size, 4, 2)
        return {
            "apply_perspective": happens,
            "start_points": start,
            "end_points": start + start * moves,
            "input_shape": tuple(images.shape),
        }

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        changed = ops.image.perspective_transform(
            images,
            transformation["start_points"],
            transformation["end_points"],
            interpolation=interpolation,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )
        happens = convert_to_tensor(transformation["apply_perspective"]).bool()
        return torch.where(
            happens[:, None, None, None] if images.ndim == 4 else happens[:, None, None], changed, images
        )

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        points = [convert_to_tensor(transformation[f"{end}_points"]).float() for end in ("end", "start")]
        # From places of the input to those of the output: what images are read by, the other way round.
        a0, a1, a2, b0, b1, b2, c0, c1 = homography(*points)[:, :, None, None].unbind(1)  # [batch, 1, 1]
        result = self._in_xyxy(bounding_boxes, height, width)
        left, top, right, bottom = result["boxes"].unbind(-1)
        x = torch.stack((left, right, left, right), dim=-1)  # [batch, number, corners]
        y = torch.stack((top, bottom, bottom, top), dim=-1)
        scale = c0 * x + c1 * y + 1
        new_x, new_y = (a0 * x + a1 * y + a2) / scale, (b0 * x + b1 * y + b2) / scale
        boxes = torch.stack((new_x.amin(-1), new_y.amin(-1), new_x.amax(-1), new_y.amax(-1)), dim=-1)
        happens = convert_to_tensor(transformation["apply_perspective"]).bool()[:, None, None]
        result["boxes"] = torch.where(happens, boxes, result["boxes"])
        result = geometry.clip_to_image_size(result, height=height, width=width)
        return self._in_own_format(result, height, width)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "scale": self.scale,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
            "seed": self.seed,
        }


class RandomElasticTransform(BaseImagePreprocessingLayer):
    """Images distorted by smooth random displacements; in training. Bounding boxes are not supported.

    Source: Simard, Steinkraus and Platt, 2003, "Best practices for convolutional neural networks".

    Args:
        factor: a number, or a lower and an upper bound, of the probability that an image is changed.
        scale: how strong, between 0 and 1; drawn for the batch from (0, scale), or between two bounds.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: what is outside: `"reflect"`, `"wrap"`, `"constant"`, `"nearest"` or `"mirror"`.
        fill_value: with `"constant"`.
        value_range: what the values are kept in.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomElasticTransform()(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self.scale = factor_range(scale, "scale", (0, 1), lowest=0, overlapping=True)
        check_warp(interpolation, fill_mode, ("reflect", "wrap", "constant", "nearest", "mirror"))
        self.interpolation = interpolation
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.value_range = value_range
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any] | None:
        if self.scale[1] == 0 or self.factor[1] == 0:
            return None
        happens = self._happens(images, seed)
        strength = draws.within((), self.scale, seed, self._torch_input_dtype())
        # Images and masks are displaced alike: from the same state of the generator.
        return {"apply_transform": happens, "distortion_factor": strength, "seed": draw_seed(seed)}

    def get_elastic_transform_params(self, height: int, width: int, factor: Any) -> tuple[Any, Any]:
        """How far pixels move, and how smoothly, in images of a size: `alpha` and `sigma` of `elastic_transform`."""
        return max(height, width) * 0.1 * factor, min(height, width) * 0.05 * factor

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        height, width = self._size_of(images)
        strength = convert_to_tensor(transformation["distortion_factor"])
        alpha, sigma = self.get_elastic_transform_params(height, width, strength)
        changed = distorted(
            images,
            alpha,
            sigma.clamp(min=1e-6),
            self.get_elastic_transform_params(height, width, self.scale[1])[1],
            interpolation,
            self.fill_mode,
            self.fill_value,
            transformation["seed"],
            self.data_format,
        )
        happens = convert_to_tensor(transformation["apply_transform"]).bool()
        happens = happens[:, None, None] if images.ndim == 3 else happens[:, None, None, None]
        images = torch.where(happens, changed, images).clamp(*self.value_range)
        return images.to(self._torch_input_dtype())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "scale": self.scale,
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "value_range": self.value_range,
            "seed": self.seed,
        }
