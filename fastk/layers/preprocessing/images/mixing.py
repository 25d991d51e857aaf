"""Layers that put parts of images into others, or take parts away: `MixUp`, `CutMix`, `RandomErasing`."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import factor_range
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.tensor import convert_to_tensor, get_device


def _taken(x: torch.Tensor, order: Any) -> torch.Tensor:
    """The batch in another order."""
    return x.index_select(0, convert_to_tensor(order).to(torch.int64))


def _mixed_labels(labels: Any, transformation: dict[str, Any]) -> torch.Tensor:
    labels = convert_to_tensor(labels)
    share = convert_to_tensor(transformation["mix_weight"]).reshape(-1, 1)
    return share * labels + (1.0 - share) * _taken(labels, transformation["permutation_order"])


class MixUp(BaseImagePreprocessingLayer):
    """Each image mixed with another of the batch, and its label likewise; in training.

    Source: Zhang et al., 2018, "mixup: beyond empirical risk minimization".

    Args:
        alpha: of the beta distribution that the images' shares are drawn from: the smaller, the less is mixed.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> data = {"images": fastk.ops.ones((4, 8, 8, 3)), "labels": fastk.ops.eye(4)}
    >>> fastk.layers.MixUp()(data, training=True)["labels"].shape
    torch.Size([4, 4])
    """

    def __init__(self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.alpha = alpha
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        size = self._batch_size(images)
        order = draws.permutation(size, seed)
        return {"mix_weight": draws.beta((size,), self.alpha, torch.float32, seed), "permutation_order": order}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        share = convert_to_tensor(transformation["mix_weight"]).reshape(-1, 1, 1, 1)
        share = share.to(images.dtype if images.is_floating_point() else torch.float32)
        return share * images + (1.0 - share) * _taken(images, transformation["permutation_order"])

    def transform_labels(self, labels: Any, transformation: Any = None, training: bool = True) -> Any:
        """The labels, mixed as their images are."""
        return _mixed_labels(labels, transformation) if training else labels

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        """Both images' boxes."""
        boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
        order = transformation["permutation_order"]
        both = torch.cat((labels, _taken(labels, order)), dim=1 if labels.ndim > 1 else 0)
        return {"boxes": torch.cat((boxes, _taken(boxes, order)), dim=1), "labels": both}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha, "seed": self.seed}


class _Windows(BaseImagePreprocessingLayer):
    """A layer that marks a random rectangle in each image."""

    def _interval(self, size: int, length: int, ratio: torch.Tensor, seed: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch,): where a share `ratio` of `length` begins and ends, at a random place."""
        dtype = self._torch_input_dtype()
        extent = (ratio * length).to(dtype)
        start = draws.uniform((size,), 0.0, 1.0, seed, dtype) * (length - extent)
        return start, start + extent

    def _rectangles(self, images: Any, corners: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """(batch, ...) bool, of the images' shape: where left <= x < right and top <= y < bottom."""
        left, right, top, bottom = (v[:, None, None, None] for v in corners)
        height, width = self._size_of(images)
        options: dict[str, Any] = {"dtype": left.dtype, "device": left.device}
        x, y = torch.arange(width, **options), torch.arange(height, **options)
        last = self.channel_axis == -1
        x, y = (x[:, None], y[:, None, None]) if last else (x, y[:, None])
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        shape = [1] * 4
        shape[self.channel_axis] = images.shape[self.channel_axis]
        return inside.repeat(shape)


class CutMix(_Windows):
    """A random window of each image from another of the batch, and its label in the same proportion; in training.

    One image alone passes as it is. Bounding boxes are not supported.

    Source: Yun et al., 2019, "CutMix: regularization strategy to train strong classifiers with localizable features".

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound: the parameter of the beta distribution that the
            images' shares are drawn from, itself drawn for each batch.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> data = {"images": fastk.ops.ones((4, 8, 8, 3)), "labels": fastk.ops.eye(4)}
    >>> fastk.layers.CutMix()(data, training=True)["labels"].shape
    torch.Size([4, 4])
    """

    factor_bounds = (0, 1)

    def __init__(self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any] | None:
        if len(images.shape) == 3:
            return None
        size, dtype = self._batch_size(images), self._torch_input_dtype()
        height, width = self._size_of(images)
        alpha = draws.within((), self.factor, seed) + 1e-6
        ratio = torch.sqrt(1.0 - draws.beta((size,), alpha, dtype, seed))
        left, right = self._interval(size, width, ratio, seed)
        top, bottom = self._interval(size, height, ratio, seed)
        share = 1.0 - (right - left) * (bottom - top) / (width * height)
        return {
            "permutation_order": draws.permutation(size, seed),
            "batch_masks": self._rectangles(images, (left, right, top, bottom)),
            "mix_weight": share[:, None, None, None],
        }

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        masks = convert_to_tensor(transformation["batch_masks"]).bool()
        if masks.shape[self.channel_axis] != images.shape[self.channel_axis]:  # those of segmentation masks
            masks = masks.narrow(self.channel_axis, 0, 1)
        return torch.where(masks, _taken(images, transformation["permutation_order"]), images)

    def transform_labels(self, labels: Any, transformation: Any = None, training: bool = True) -> Any:
        """The labels, mixed by area."""
        return _mixed_labels(labels, transformation) if training and transformation is not None else labels

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The masks, cut as their images are."""
        return self.transform_images(segmentation_masks, transformation, training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "factor": self.factor, "seed": self.seed}


class RandomErasing(_Windows):
    """A random window of each image filled, with noise or a value; in training.

    Source: Zhong et al., 2020, "Random erasing data augmentation".

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound, of the probability that an image is changed.
        scale: a number between 0 and 1, or a lower and an upper bound, of the window's share of the area.
        fill_value: a number, or three; by default Gaussian noise.
        value_range: what the filling is kept in.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomErasing(fill_value=0)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)
    moves_pixels = False

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self.scale = factor_range(scale, "scale", (0, 1), lowest=0, overlapping=True)
        number = isinstance(fill_value, (int, float))
        if (
            fill_value is not None
            and not number
            and not (isinstance(fill_value, (tuple, list)) and len(fill_value) == 3)
        ):
            raise ValueError(
                f"The `fill_value` argument should be a number (or a list of three numbers). Received: {fill_value}"
            )
        self.fill_value = fill_value
        self.value_range = value_range
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        size, dtype = self._batch_size(images), self._torch_input_dtype()
        height, width = self._size_of(images)
        ratio = torch.sqrt(draws.within((size, 2), self.scale, seed, dtype))
        corners = (
            *self._interval(size, width, ratio[:, 0], seed),
            *self._interval(size, height, ratio[:, 1], seed),
        )
        return {
            "batch_masks": self._rectangles(images, corners),
            "apply_erasing": self._happens(images, seed),
            "fill_value": self._filling(images, seed).clamp(*self.value_range),
        }

    def _filling(self, images: Any, seed: Any) -> torch.Tensor:
        dtype = self._torch_input_dtype()
        if self.fill_value is None:
            return draws.normal(tuple(images.shape), seed, dtype) * self.value_range[1]
        options: dict[str, Any] = {"dtype": dtype, "device": get_device()}
        if isinstance(self.fill_value, (int, float)):
            return torch.full((), self.fill_value, **options)
        shape = [1] * 4
        shape[self.channel_axis] = 3
        return torch.stack([torch.full((), value, **options) for value in self.fill_value]).reshape(shape)

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        masks, happens, filling = (
            convert_to_tensor(transformation[k]) for k in ("batch_masks", "apply_erasing", "fill_value")
        )
        erased = masks.bool() & happens.bool()[:, None, None, None]
        return torch.where(erased, filling.to(images.dtype), images)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "scale": self.scale,
            "fill_value": self.fill_value,
            "value_range": self.value_range,
            "seed": self.seed,
        }
