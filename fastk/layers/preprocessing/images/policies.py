"""Layers made of other augmentation layers: `RandAugment`, `AugMix`, `RandomColorJitter`."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.layers.preprocessing.images.colors import (
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
)
from fastk.layers.preprocessing.images.tones import AutoContrast, Equalization, Solarization
from fastk.layers.preprocessing.images.warps import RandomRotation, RandomShear, RandomTranslation
from fastk.tensor import convert_to_tensor


class _Policy(BaseImagePreprocessingLayer):
    """A layer that applies some of its augmentations, which are attributes of these names.

    Which ones is drawn once a batch, and read by the host: to compute all of them and take one would cost more than
    the wait. A training step with such a layer is not captured.
    """

    factor_bounds = (0, 1)
    augmentations: tuple[str, ...] = ()

    def _make_augmentations(self, interpolation: str, options: dict[str, Any]) -> None:
        factor = self.factor
        options = {
            "data_format": self.data_format,
            **{k: v for k, v in options.items() if k in ("bounding_box_format", "dtype")},
        }
        seeded = {**options, "seed": self.seed}
        valued = {**seeded, "value_range": self.value_range}
        unseeded = {**options, "value_range": self.value_range}
        warped = {**seeded, "interpolation": interpolation}
        makers = {
            "random_shear": lambda: RandomShear(x_factor=factor, y_factor=factor, **warped),
            "random_translation": lambda: RandomTranslation(height_factor=factor, width_factor=factor, **warped),
            "random_rotation": lambda: RandomRotation(factor=factor, **warped),
            "random_brightness": lambda: RandomBrightness(factor=factor, **valued),
            "random_color_degeneration": lambda: RandomColorDegeneration(factor=factor, **valued),
            "random_contrast": lambda: RandomContrast(factor=factor, **valued),
            "random_sharpness": lambda: RandomSharpness(factor=factor, **valued),
            "random_posterization": lambda: RandomPosterization(factor=max(1, int(8 * factor[1])), **valued),
            "solarization": lambda: Solarization(addition_factor=factor, threshold_factor=factor, **valued),
            "auto_contrast": lambda: AutoContrast(**unseeded),
            "equalization": lambda: Equalization(**unseeded),
        }
        for name in self.augmentations:
            setattr(self, name, makers[name]())

    def build(self, input_shape: Any) -> None:
        """Builds the augmentations."""
        for name in self.augmentations:
            getattr(self, name).build(input_shape)
        super().build(input_shape)

    def _on_host(self, choices: Any) -> list:
        """Drawn numbers as Python's; none while shapes are inferred."""
        choices = convert_to_tensor(choices)
        return [] if choices.is_meta else choices.tolist()


class RandAugment(_Policy):
    """A few augmentations, drawn for each batch from eleven; in training.

    Source: Cubuk et al., 2020, "RandAugment: practical automated data augmentation with a reduced search space".

    Args:
        value_range: the range of the values.
        num_ops: how many are applied, one after the other.
        factor: how strong: a number between 0 and 1, or a lower and an upper bound.
        interpolation: of those that move pixels: `"bilinear"` or `"nearest"`.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.RandAugment()(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    augmentations = (
        "random_shear",
        "random_translation",
        "random_rotation",
        "random_brightness",
        "random_color_degeneration",
        "random_contrast",
        "random_sharpness",
        "random_posterization",
        "solarization",
        "auto_contrast",
        "equalization",
    )

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_ops: int = 2,
        factor: Any = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self.value_range = value_range
        self.num_ops = num_ops
        self.interpolation = interpolation
        self._seeded(seed)
        self._make_augmentations(interpolation, kwargs)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        choices = draws.integers((self.num_ops,), 0, len(self.augmentations), seed)
        transforms = {
            name: getattr(self, name).get_random_transformation(images, seed=seed) for name in self.augmentations
        }
        return {"transforms": transforms, "layer_idxes": choices}

    def _chosen(self, transformation: dict[str, Any]) -> list[tuple[Any, Any]]:
        """The layers that are applied, with their transformations, in order."""
        names = list(transformation["transforms"])
        chosen = [names[i] for i in self._on_host(transformation["layer_idxes"])]
        return [(getattr(self, name), transformation["transforms"][name]) for name in chosen]

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        for layer, own in self._chosen(transformation):
            images = layer.transform_images(images, own)
        return images.to(self._torch_input_dtype())

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        for layer, own in self._chosen(transformation):
            bounding_boxes = layer.transform_bounding_boxes(bounding_boxes, own)
        return bounding_boxes

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks, moved as their images are."""
        if training and transformation is not None:
            for layer, own in self._chosen(transformation):
                segmentation_masks = layer.transform_segmentation_masks(segmentation_masks, own)
        return segmentation_masks

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "num_ops": self.num_ops,
            "factor": self.factor,
            "interpolation": self.interpolation,
            "seed": self.seed,
        }


class AugMix(_Policy):
    """Several chains of augmentations, mixed with each other and with the image; in training.

    Source: Hendrycks et al., 2020, "AugMix: a simple data processing method to improve robustness and uncertainty".

    Args:
        value_range: the range of the values.
        num_chains: how many chains.
        chain_depth: the most augmentations in one.
        factor: how strong: a number between 0 and 1, or a lower and an upper bound.
        alpha: of the distributions that the shares of the chains and of the image are drawn from.
        all_ops: whether augmentations that change brightness, colour, contrast and sharpness are among them.
        interpolation: of those that move pixels: `"bilinear"` or `"nearest"`.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> fastk.layers.AugMix()(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_chains: int = 3,
        chain_depth: int = 3,
        factor: Any = 0.3,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor=factor, data_format=data_format, **kwargs)
        self.value_range = value_range
        self.num_chains = num_chains
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        self.interpolation = interpolation
        self._seeded(seed)
        augmentations = (
            "random_shear",
            "random_translation",
            "random_rotation",
            "random_posterization",
            "solarization",
            "auto_contrast",
            "equalization",
        )
        if all_ops:
            augmentations += (
                "random_brightness",
                "random_color_degeneration",
                "random_contrast",
                "random_sharpness",
            )
        self.augmentations = augmentations
        self._make_augmentations(interpolation, kwargs)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        # One more than there are augmentations: to do nothing.
        choices = draws.integers((self.num_chains, self.chain_depth), 0, len(self.augmentations) + 1, seed)
        chains = []
        for chain in self._on_host(choices):
            names = [self.augmentations[i] for i in chain if i < len(self.augmentations)]
            chains.append(
                [
                    {
                        "layer_name": name,
                        "transformation": getattr(self, name).get_random_transformation(images, seed=seed),
                    }
                    for name in names
                ]
            )
        return {
            "chain_mixing_weights": draws.dirichlet(self.num_chains, self.alpha, torch.float32, seed),
            "weight_sample": draws.beta((), self.alpha, torch.float32, seed),
            "chain_transforms": chains,
        }

    def _mixed(self, x: torch.Tensor, transformation: dict[str, Any], method: str) -> torch.Tensor:
        """`x` and what the chains make of it, by a method of the augmentations."""
        dtype = self._torch_input_dtype()
        shares = convert_to_tensor(transformation["chain_mixing_weights"]).to(dtype)
        share = convert_to_tensor(transformation["weight_sample"]).to(dtype)
        total = torch.zeros_like(x, dtype=dtype)
        for i, chain in enumerate(transformation["chain_transforms"]):
            changed = x
            for step in chain:
                changed = getattr(getattr(self, step["layer_name"]), method)(changed, step["transformation"])
            total = total + changed * shares[i]
        return share * x + (1 - share) * total

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        images = self._mixed(images, transformation, "transform_images")
        return images.clamp(self.value_range[0], self.value_range[1]).to(self._torch_input_dtype())

    def _transform_boxes(self, bounding_boxes: dict[str, Any], transformation: Any) -> dict[str, Any]:
        return bounding_boxes  # as they are: an image is a mixture of some that moved and some that did not

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks, mixed as their images are."""
        if not training or transformation is None:
            return segmentation_masks
        return self._mixed(convert_to_tensor(segmentation_masks), transformation, "transform_segmentation_masks")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "num_chains": self.num_chains,
            "chain_depth": self.chain_depth,
            "factor": self.factor,
            "alpha": self.alpha,
            "all_ops": self.all_ops,
            "interpolation": self.interpolation,
            "seed": self.seed,
        }


class RandomColorJitter(BaseImagePreprocessingLayer):
    """Random brightness, contrast, saturation and hue, one after the other; in training.

    Args:
        value_range: the range of the values.
        brightness_factor, contrast_factor, saturation_factor, hue_factor: as of `RandomBrightness`, `RandomContrast`,
            `RandomSaturation` and `RandomHue`; None leaves it out.
        seed: an integer makes the draws the same in every run.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> layer = fastk.layers.RandomColorJitter(brightness_factor=0.2, hue_factor=0.1)
    >>> layer(fastk.ops.ones((2, 8, 8, 3)), training=True).shape
    torch.Size([2, 8, 8, 3])
    """

    moves_pixels = False

    def __init__(
        self,
        value_range: Any = (0, 255),
        brightness_factor: Any = None,
        contrast_factor: Any = None,
        saturation_factor: Any = None,
        hue_factor: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.value_range = value_range
        self.brightness_factor = brightness_factor
        self.contrast_factor = contrast_factor
        self.saturation_factor = saturation_factor
        self.hue_factor = hue_factor
        self._seeded(seed)
        options = {
            "value_range": value_range,
            "seed": seed,
            "data_format": self.data_format,
            **{k: v for k, v in kwargs.items() if k == "dtype"},
        }
        self.random_brightness = self.random_contrast = self.random_saturation = self.random_hue = None
        if brightness_factor is not None:
            self.random_brightness = RandomBrightness(factor=brightness_factor, **options)
        if contrast_factor is not None:
            self.random_contrast = RandomContrast(factor=contrast_factor, **options)
        if saturation_factor is not None:
            self.random_saturation = RandomSaturation(factor=saturation_factor, **options)
        if hue_factor is not None:
            self.random_hue = RandomHue(factor=hue_factor, **options)

    def _steps(self) -> list[Any]:
        steps = (self.random_brightness, self.random_contrast, self.random_saturation, self.random_hue)
        return [layer for layer in steps if layer is not None]

    def build(self, input_shape: Any) -> None:
        """Builds the layers that are used."""
        for layer in self._steps():
            layer.build(input_shape)
        super().build(input_shape)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, recoloured by numbers that are drawn here."""
        images = self._images(images)
        if training:
            for layer in self._steps():
                own = layer.get_random_transformation(images, seed=self.generator)
                images = layer.transform_images(images, own)
        return images

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "brightness_factor": self.brightness_factor,
            "contrast_factor": self.contrast_factor,
            "saturation_factor": self.saturation_factor,
            "hue_factor": self.hue_factor,
            "seed": self.seed,
        }
