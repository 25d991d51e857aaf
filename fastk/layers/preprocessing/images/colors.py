"""Layers that change an image's colours and leave its pixels where they are, with one random number an image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config as settings
from fastk import ops, tree
from fastk.graph import KerasTensor
from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import checked_value_range, factor_range
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.tensor import convert_to_tensor, get_device


class ColorLayer(BaseImagePreprocessingLayer):
    """A layer with `factor`, `value_range` and `seed`, whose labels, boxes and masks pass as they are."""

    factor_bounds = (-1, 1)
    moves_pixels = False
    checks_value_range = True

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self.value_range = checked_value_range(value_range) if self.checks_value_range else value_range
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        return {"factor": draws.within((self._batch_size(images),), self.factor, seed)}

    def _clipped(self, images: torch.Tensor) -> torch.Tensor:
        return images.clamp(self.value_range[0], self.value_range[1])

    def _with_plane(self, images: torch.Tensor, index: int, change: Any) -> torch.Tensor:
        """Images of which one channel is changed by a function of it."""
        planes = list(images.unbind(self.channel_axis))
        planes[index] = change(planes[index])
        return torch.stack(planes, dim=self.channel_axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range, "seed": self.seed}


class RandomContrast(ColorLayer):
    """Images with a random contrast: each channel's distance from its mean times a factor; in training.

    Args:
        factor: a number f between 0 and 1: the factor is drawn from [1, 1 + f); two numbers: from [1 - f0, 1 + f1).
        value_range: what values are kept in.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> x = fastk.ops.reshape(fastk.ops.array([100.0, 200.0]), (1, 2, 1))
    >>> low, high = fastk.layers.RandomContrast(0.2)(x, training=True).flatten().tolist()
    >>> 90 <= low <= 100 and 200 <= high <= 210
    True
    """

    factor_bounds = (0, 1)
    checks_value_range = False

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(factor, value_range, seed=seed, **kwargs)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        self._batch_size(images)
        low, high = 1.0 - self.factor[0], 1.0 + self.factor[1]
        return {"contrast_factor": draws.uniform(self._per_image(images), low, high, seed, self._torch_input_dtype())}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        factor = convert_to_tensor(transformation["contrast_factor"]).to(images.dtype)
        mean = images.mean(self.height_axis, keepdim=True).mean(self.width_axis, keepdim=True)
        return self._clipped((images - mean) * factor + mean)


class RandomBrightness(ColorLayer):
    """Images with a random brightness: a number, one an image, added to all values; in training.

    Args:
        factor: a number between -1 and 1, or a lower and an upper bound, as shares of the value range.
        value_range: what values are kept in.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> layer = fastk.layers.RandomBrightness([0.1, 0.1])
    >>> layer(fastk.ops.zeros((1, 1, 1)), training=True).item()
    25.5
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(factor, value_range, seed=seed, **kwargs)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        self._batch_size(images)
        delta = draws.within(self._per_image(images), self.factor, seed)
        return {"rgb_delta": delta * (self.value_range[1] - self.value_range[0])}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        return self._clipped(images + convert_to_tensor(transformation["rgb_delta"]).to(images.dtype))


class RandomHue(ColorLayer):
    """Images with a random hue; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound: how far the hue turns, either way; 1 is half a
            turn.
        value_range: the range of the values.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomHue(0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)
    checks_value_range = False

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        size = (self._batch_size(images),)
        sign = torch.where(draws.uniform(size, 0.0, 1.0, seed) > 0.5, -1.0, 1.0)
        return {"factor": sign * draws.within(size, self.factor, seed) * 0.5}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        images = self._scaled(images, self.value_range, (0, 1), "float32")
        turn = convert_to_tensor(transformation["factor"]).to(images.dtype)[:, None, None]

        def turned(hue: torch.Tensor) -> torch.Tensor:
            hue = hue + turn
            hue = torch.where(hue > 1.0, hue - 1.0, hue)
            return torch.where(hue < 0.0, hue + 1.0, hue)

        images = ops.image.rgb_to_hsv(images, data_format=self.data_format)
        images = ops.image.hsv_to_rgb(self._with_plane(images, 0, turned), data_format=self.data_format)
        images = self._scaled(images.clamp(0, 1), (0, 1), self.value_range, "float32")
        return images.to(self._torch_input_dtype())


class RandomSaturation(ColorLayer):
    """Images with a random saturation; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound: 0.5 leaves the saturation, 0 makes images grey,
            1 makes them as colourful as can be: saturation times f / (1 - f).
        value_range: what the new saturation is kept in.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomSaturation((0.5, 0.5))(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        factor = draws.within((self._batch_size(images),), self.factor, seed)
        return {"factor": factor / (1 - factor + settings.epsilon())}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        factor = convert_to_tensor(transformation["factor"]).to(images.dtype)[..., None, None]
        images = ops.image.rgb_to_hsv(images, data_format=self.data_format)
        images = self._with_plane(images, 1, lambda saturation: self._clipped(saturation * factor))
        return ops.image.hsv_to_rgb(images, data_format=self.data_format)


class RandomSharpness(ColorLayer):
    """Images smoothed or sharpened at random; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound: 0 is smoothed, 0.5 unchanged, 1 sharpened.
        value_range: what values are kept in.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomSharpness(0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        last = self.channel_axis == -1
        batch = images.movedim(-1, -3) if last else images
        kernel = torch.full((3, 3), 1.0 / 13.0, dtype=batch.dtype, device=batch.device)
        kernel[1, 1].fill_(5.0 / 13.0)
        channels = batch.shape[-3]
        smooth = F.conv2d(batch, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)
        smooth = smooth.movedim(-3, -1) if last else smooth
        factor = (convert_to_tensor(transformation["factor"]) * 2).to(images.dtype).reshape(-1, 1, 1, 1)
        return self._clipped(images + (1.0 - factor) * (smooth - images))


class RandomColorDegeneration(ColorLayer):
    """Images with less colour: mixed with their grey version, by a random share; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound, of the share: 0 leaves images, 1 makes them
            grey. A number f is drawn from (-f, f).
        value_range: what values are kept in.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomColorDegeneration(0.5)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        return {"factor": draws.within((self._batch_size(images), 1, 1, 1), self.factor, seed)}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        factor = convert_to_tensor(transformation["factor"]).to(images.dtype)
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        return self._clipped(images + factor * (grey - images))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`, which must be that of colour images."""
        shape: Any = input_shape.get("images") if isinstance(input_shape, dict) else input_shape
        if len(shape) not in (3, 4):
            raise ValueError(
                "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). Received: "
                f"input_shape={input_shape}"
            )
        channels = shape[self.channel_axis]
        if channels is not None and channels != 3:
            raise ValueError(f"Input images must have 3 channels, but received images with {channels} channels.")
        return input_shape


class RandomPosterization(ColorLayer):
    """Images with fewer shades: only some of the 8 bits of a value are kept; in training.

    Args:
        factor: two numbers from 1 to 8: the bits kept are drawn from the first to one less than the second; a number
            stands for (1, number). Equal ones leave nothing to chance.
        value_range: the range of the values.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomPosterization([1, 1])(fastk.ops.full((1, 1, 1), 200.0), training=True).item()
    128.0
    """

    factor_bounds = (1, 8)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        shape = (self._batch_size(images),)
        low, high = self.factor
        if low != high:
            bits = draws.integers(shape, low, high, seed)
        else:
            bits = torch.full(shape, int(low), dtype=torch.int64, device=get_device())
        return {"shift_factor": (8 - bits).to(torch.uint8)}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        shift = convert_to_tensor(transformation["shift_factor"]).to(torch.uint8)[:, None, None, None]
        images = self._scaled(images, self.value_range, (0, 255)).to(torch.uint8)
        images = ((images >> shift) << shift).to(self._torch_input_dtype())
        return self._scaled(images, (0, 255), self.value_range)


class RandomInvert(ColorLayer):
    """Images inverted with a random probability: the greatest value less their values; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound, of the probability.
        value_range: the range of the values.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandomInvert((1, 1))(fastk.ops.full((1, 1, 1), 200.0), training=True).item()
    55.0
    """

    factor_bounds = (0, 1)
    checks_value_range = False

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor, value_range, data_format, seed, **kwargs)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        return {"apply_inversion": self._happens(images, seed)}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        happens = convert_to_tensor(transformation["apply_inversion"]).bool()[:, None, None, None]
        return torch.where(happens, self.value_range[1] - images, images)


class RandomGrayscale(BaseImagePreprocessingLayer):
    """Images turned grey with a probability, all channels kept; in training. The dtype stays.

    Args:
        factor: the probability.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomGrayscale(1.0)(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    moves_pixels = False

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        if not 0 <= factor <= 1:
            raise ValueError(f"`factor` should be between 0 and 1. Received: factor={factor}")
        self.factor = factor
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> torch.Tensor:
        return (draws.uniform((self._batch_size(images),), 0.0, 1.0, seed) < self.factor)[:, None, None, None]

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, some of them grey."""
        images = convert_to_tensor(images)
        if not training:
            return images
        happens = self.get_random_transformation(images) if transformation is None else transformation
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        return torch.where(convert_to_tensor(happens).bool(), grey, images)

    def compute_output_spec(self, inputs: Any, training: bool = True) -> Any:
        """KerasTensors like `inputs`: the dtype stays."""
        return tree.map_structure(lambda x: KerasTensor(x.shape, dtype=x.dtype), inputs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "factor": self.factor, "seed": self.seed}


class RandomGaussianBlur(ColorLayer):
    """Images blurred with a random probability, and a random strength for the batch; in training.

    Args:
        factor: a number between 0 and 1, or a lower and an upper bound, of the probability.
        kernel_size: an odd number, or two: the kernel's elements along width and height.
        sigma: a number between 0 and 1, or a lower and an upper bound, of the standard deviations.
        value_range: what values are kept in.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.RandomGaussianBlur()(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    factor_bounds = (0, 1)
    checks_value_range = False

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor, value_range, data_format, seed, **kwargs)
        sizes = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
        if len(sizes) != 2 or any(not isinstance(n, (int, float)) or n % 2 != 1 for n in sizes):
            raise ValueError(
                "The `kernel_size` argument should be an odd number (or a list of two odd numbers). Received: "
                f"kernel_size={kernel_size}"
            )
        self.kernel_size = sizes
        self.sigma = factor_range(sigma, "sigma", (0, 1), lowest=0, overlapping=True)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        happens = self._happens(images, seed)
        sigma = draws.within((2,), self.sigma, seed, self._torch_input_dtype()) + 1e-6
        return {"should_apply_blur": happens, "blur_factor": sigma}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        sigma = convert_to_tensor(transformation["blur_factor"])
        happens = convert_to_tensor(transformation["should_apply_blur"]).bool()[:, None, None, None]
        blurred = ops.image.gaussian_blur(images, self.kernel_size, sigma, data_format=self.data_format)
        return self._clipped(torch.where(happens, blurred, images))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "kernel_size": self.kernel_size, "sigma": self.sigma}
