"""Layers that move pixels by a matrix: `RandomRotation`, `RandomZoom`, `RandomTranslation`, `RandomShear`."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import check_warp, factor_range
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.tensor import convert_to_tensor
from fastk.utils import bounding_boxes as geometry


class Warp(BaseImagePreprocessingLayer):
    """A layer that reads each pixel where a matrix says, (batch, 8) as `affine_transform` takes it."""

    def _init_warp(self, fill_mode: str, interpolation: str, fill_value: float, seed: int | None) -> None:
        check_warp(interpolation, fill_mode)
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.interpolation = interpolation
        self._seeded(seed)

    def _matrix(self, transformation: Any, height: int, width: int) -> torch.Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no matrix.")

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        return ops.image.affine_transform(
            images,
            self._matrix(transformation, *self._size_of(images)),
            interpolation=interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "seed": self.seed,
            "fill_value": self.fill_value,
        }


def _matrix(a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any) -> torch.Tensor:
    """(batch, 8) of elements that are (batch,) or numbers."""
    like = next(v for v in (a0, a1, a2, b0, b1, b2) if isinstance(v, torch.Tensor))
    columns = [v if isinstance(v, torch.Tensor) else torch.full_like(like, v) for v in (a0, a1, a2, b0, b1, b2, 0, 0)]
    return torch.stack(columns, dim=1)


class RandomRotation(Warp):
    """Images turned about their centre by random angles; in training.

    Args:
        factor: a number, or a lower and an upper bound, in full turns: 0.2 is -72 to 72 degrees. Positive turns go
            counter-clockwise.
        fill_mode: what is outside: `"reflect"`, `"wrap"`, `"constant"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: an integer makes the draws the same in every run.
        fill_value: with `"constant"`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomRotation(0.2)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (-1, 1)

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self._init_warp(fill_mode, interpolation, fill_value, seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        size = self._batch_size(images)
        height, width = self._size_of(images)
        angle = draws.uniform((size,), self.factor[0] * 360.0, self.factor[1] * 360.0, seed)
        turn = draws.radians(angle)
        cos, sin = torch.cos(turn), torch.sin(turn)
        x, y = 0.5 * (width - 1), 0.5 * (height - 1)
        matrix = _matrix(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)
        return {
            "angle": angle,
            "rotation_matrix": matrix if len(images.shape) == 4 else matrix.squeeze(0),
            "image_height": height,
            "image_width": width,
            "batch_size": size,
        }

    def _matrix(self, transformation: Any, height: int, width: int) -> torch.Tensor:
        return convert_to_tensor(transformation["rotation_matrix"])

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        height, width = transformation["image_height"], transformation["image_width"]
        angle = convert_to_tensor(transformation["angle"])
        result = self._in_xyxy(bounding_boxes, height, width)
        zero, one = torch.zeros_like(angle), torch.ones_like(angle)
        boxes = geometry.affine_transform(result["boxes"], angle, zero, zero, one, zero, zero, height, width)
        result = geometry.clip_to_image_size({**result, "boxes": boxes}, height=height, width=width)
        return self._in_own_format(result, height, width)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}


class RandomZoom(Warp):
    """Images scaled by random factors, the height and width alike or each for itself; in training.

    Args:
        height_factor: a number, or a lower and an upper bound: -0.2 shows a fifth less of the height (zooms in), 0.2 a
            fifth more.
        width_factor: likewise; by default the width is scaled as the height.
        fill_mode: what is outside: `"reflect"`, `"wrap"`, `"constant"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: an integer makes the draws the same in every run.
        fill_value: with `"constant"`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomZoom(0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        self.height_lower, self.height_upper = factor_range(height_factor, "height_factor", open_below=True)
        if width_factor is not None:
            self.width_lower, self.width_upper = factor_range(width_factor, "width_factor", open_below=True)
        self._init_warp(fill_mode, interpolation, fill_value, seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        shape = (self._batch_size(images), 1)
        height_zoom = draws.uniform(shape, 1.0 + self.height_lower, 1.0 + self.height_upper, seed)
        width_zoom = height_zoom
        if self.width_factor is not None:
            width_zoom = draws.uniform(shape, 1.0 + self.width_lower, 1.0 + self.width_upper, seed)
        return {"height_zoom": height_zoom, "width_zoom": width_zoom, "input_shape": tuple(images.shape)}

    def _matrix(self, transformation: Any, height: int, width: int) -> torch.Tensor:
        x, y = (convert_to_tensor(transformation[f"{side}_zoom"]).float()[:, 0] for side in ("width", "height"))
        return _matrix(x, 0, (width - 1.0) / 2.0 * (1.0 - x), 0, y, (height - 1.0) / 2.0 * (1.0 - y))

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        matrix = self._matrix(transformation, height, width)
        # What of the input is shown: a window, which then fills the image.
        left, top = matrix[:, 2:3, None], matrix[:, 5:6, None]  # [batch, 1, 1]
        window_width, window_height = matrix[:, 0:1, None] * width, matrix[:, 4:5, None] * height
        if bounding_boxes["boxes"].ndim == 2:
            left, top, window_width, window_height = (v.squeeze(-1) for v in (left, top, window_width, window_height))
        result = self._in_xyxy(bounding_boxes, height, width)
        boxes = geometry.crop(result["boxes"], top, left, window_height, window_width)
        shares = geometry.convert_format(boxes, "xyxy", "rel_xyxy", height=window_height, width=window_width)
        result = geometry.clip_to_image_size({**result, "boxes": shares}, bounding_box_format="rel_xyxy")
        return self._in_own_format(result, height, width, "rel_xyxy")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomTranslation(Warp):
    """Images moved by random distances; in training.

    Args:
        height_factor: a number, or a lower and an upper bound, as shares of the height: positive moves go down.
        width_factor: likewise: positive moves go to the right.
        fill_mode: what is outside: `"reflect"`, `"wrap"`, `"constant"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: an integer makes the draws the same in every run.
        fill_value: with `"constant"`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomTranslation(0.5, 0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        self.height_lower, self.height_upper = factor_range(height_factor, "height_factor")
        self.width_lower, self.width_upper = factor_range(width_factor, "width_factor")
        self._init_warp(fill_mode, interpolation, fill_value, seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        shape = (self._batch_size(images), 1)
        height, width = self._size_of(images)
        down = draws.uniform(shape, self.height_lower, self.height_upper, seed) * height
        right = draws.uniform(shape, self.width_lower, self.width_upper, seed) * width
        return {"translations": torch.cat((right, down), dim=1), "input_shape": tuple(images.shape)}

    def _matrix(self, transformation: Any, height: int, width: int) -> torch.Tensor:
        right, down = convert_to_tensor(transformation["translations"]).float().unbind(1)
        return _matrix(1, 0, -right, 0, 1, -down)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        right, down = convert_to_tensor(transformation["translations"]).float().split(1, dim=1)
        result = self._in_xyxy(bounding_boxes, height, width)
        boxes = result["boxes"]
        if boxes.ndim == 3:
            right, down = right.unsqueeze(-1), down.unsqueeze(-1)
        result["boxes"] = geometry.pad(boxes, down, right)
        result = geometry.clip_to_image_size(result, height=height, width=width)
        return self._in_own_format(result, height, width)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomShear(Warp):
    """Images sheared by random amounts; in training.

    Args:
        x_factor: a number between 0 and 1, or a lower and an upper bound: how far a row is moved, as a share of its
            distance from the top. A number f is drawn from (-f, f).
        y_factor: likewise, of columns.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: what is outside: `"reflect"`, `"wrap"`, `"constant"` or `"nearest"`.
        fill_value: with `"constant"`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomShear(0.5, 0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        # As they were passed: a range that a number stands for is itself out of bounds.
        self._given = {"x_factor": x_factor, "y_factor": y_factor}
        self.x_factor = factor_range(x_factor, "x_factor", (0.0, 1.0))
        self.y_factor = factor_range(y_factor, "y_factor", (0.0, 1.0))
        self._init_warp(fill_mode, interpolation, fill_value, seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        shape, dtype = (self._batch_size(images), 1), self._torch_input_dtype()
        sign = torch.where(draws.uniform(shape, 0.0, 1.0, seed) > 0.5, -1.0, 1.0).to(dtype)
        y = draws.within(shape, self.y_factor, seed, dtype)
        x = draws.within(shape, self.x_factor, seed, dtype)
        return {"shear_factor": torch.cat((x, y), dim=1) * sign, "input_shape": tuple(images.shape)}

    def _matrix(self, transformation: Any, height: int, width: int) -> torch.Tensor:
        x, y = convert_to_tensor(transformation["shear_factor"]).float().unbind(1)
        return _matrix(1, x, 0, y, 1, 0)

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        shape = transformation["input_shape"]
        height, width = shape[self.height_axis], shape[self.width_axis]
        x, y = convert_to_tensor(transformation["shear_factor"]).float().split(1, dim=1)  # [batch, 1]
        result = self._in_xyxy(bounding_boxes, height, width, "rel_xyxy")
        left, top, right, bottom = result["boxes"].unbind(-1)
        left, right = (
            torch.where(x < 0, left - x * top, left - x * bottom),
            torch.where(x < 0, right - x * bottom, right - x * top),
        )
        top, bottom = (
            torch.where(y > 0, top - y * right, top - y * left),
            torch.where(y > 0, bottom - y * left, bottom - y * right),
        )
        result["boxes"] = torch.stack((left, top, right, bottom), dim=-1)
        result = geometry.clip_to_image_size(result, bounding_box_format="rel_xyxy")
        return self._in_own_format(result, height, width, "rel_xyxy")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self._given}
