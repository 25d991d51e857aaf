"""Layers that map an image's shades by its own statistics, or by a threshold."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.preprocessing.images import draws
from fastk.layers.preprocessing.images.arguments import checked_value_range, factor_range
from fastk.layers.preprocessing.images.base import BaseImagePreprocessingLayer
from fastk.ops.image.warp import reflected
from fastk.tensor import convert_to_tensor


class AutoContrast(BaseImagePreprocessingLayer):
    """Each channel of each image stretched over the whole value range; in training and inference.

    Args:
        value_range: the range of the values.

    >>> import fastk
    >>> x = fastk.ops.reshape(fastk.ops.array([100.0, 150.0, 200.0]), (1, 1, 3, 1))
    >>> fastk.layers.AutoContrast()(x).flatten().tolist()
    [0.0, 127.5, 255.0]
    """

    moves_pixels = False
    always_active = True

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any):
        super().__init__(**kwargs)
        self.value_range = checked_value_range(value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, stretched; an image of one shade stays as it is."""
        original = self._images(images)
        images = self._scaled(original, self.value_range, (0, 255))
        axes = (self.height_axis, self.width_axis)
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        scale = 255.0 / (high - low)
        stretched = (images * scale - low * scale).clamp(0.0, 255.0)
        stretched = self._scaled(stretched, (0, 255), self.value_range)
        return torch.where(stretched.isnan(), original, stretched)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "value_range": self.value_range}


class Equalization(BaseImagePreprocessingLayer):
    """Each channel of a batch mapped so that its shades are equally frequent in the batch; in training.

    Args:
        value_range: the range of the values.
        bins: the shades that are counted.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> x = fastk.ops.reshape(fastk.ops.array([100.0, 150.0, 200.0]), (1, 1, 3, 1))
    >>> fastk.layers.Equalization()(x, training=True).flatten().tolist()
    [0.0, 128.0, 255.0]
    """

    moves_pixels = False

    def __init__(self, value_range: Any = (0, 255), bins: int = 256, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.bins = bins
        self.value_range = checked_value_range(value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, equalized."""
        images = self._images(images)
        if not training:
            return images
        planes = self._scaled(images, self.value_range, (0, 255)).movedim(self.channel_axis, 0)
        shape, flat = planes.shape, planes.flatten(1)  # [channels, pixels]
        places = (flat.float() * (self.bins - 1) / 255.0).to(torch.int64).clamp(0, self.bins - 1)
        counts = torch.zeros(shape[0], self.bins, dtype=torch.int64, device=flat.device)
        counts.scatter_add_(1, places, torch.ones_like(places))
        below = counts.cumsum(1)
        total = below[:, -1:]
        first = torch.where(below > 0, below, total).amin(1, keepdim=True)
        table = ((below - first) * 255 / (total - first).clamp(min=1)).round().clamp(0, 255)
        shades = (flat / 255.0 * (self.bins - 1)).clamp(0, self.bins - 1).to(torch.int64)
        plain = (counts > 0).sum(1, keepdim=True) <= 1
        flat = torch.where(plain, flat, table.gather(1, shades).to(flat.dtype))
        images = flat.view(shape).movedim(0, self.channel_axis)
        return self._scaled(images, (0, 255), self.value_range).to(self._torch_input_dtype())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "bins": self.bins, "value_range": self.value_range}


class Solarization(BaseImagePreprocessingLayer):
    """Images brightened by a random number, and inverted where they are above a random threshold; in training.

    Args:
        addition_factor: a number f between 0 and 1, drawn from (0, f), or two: what is added, as a share of 255.
        threshold_factor: likewise, of the threshold.
        value_range: the range of the values.
        seed: an integer makes the draws the same in every run.

    >>> import fastk
    >>> fastk.layers.Solarization()(fastk.ops.full((1, 1, 1), 200.0), training=True).item()
    55.0
    """

    moves_pixels = False

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.addition_factor = factor_range(addition_factor, "addition_factor", (0, 1), lowest=0)
        self.threshold_factor = factor_range(threshold_factor, "threshold_factor", (0, 1), lowest=0)
        self.value_range = checked_value_range(value_range)
        self._seeded(seed)

    def _draw(self, images: Any, seed: Any) -> dict[str, Any]:
        shape, dtype = self._per_image(images), self._torch_input_dtype()
        additions, thresholds = (
            draws.uniform(shape, low, high * 255, seed, dtype)
            for low, high in (self.addition_factor, self.threshold_factor)
        )
        return {"additions": additions, "thresholds": thresholds}

    def _transform_images(self, images: torch.Tensor, transformation: Any, interpolation: str) -> torch.Tensor:
        additions, thresholds = (convert_to_tensor(transformation[k]) for k in ("additions", "thresholds"))
        images = self._scaled(images, self.value_range, (0, 255))
        images = (images + additions).clamp(0, 255)
        images = torch.where(images < thresholds, images, 255 - images)
        return self._scaled(images, (0, 255), self.value_range)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "addition_factor": self.addition_factor,
            "threshold_factor": self.threshold_factor,
            "seed": self.seed,
        }


class ContrastLimitedAdaptiveHistogramEqualization(BaseImagePreprocessingLayer):
    """Shades equalized tile by tile, with a limit to the contrast, tiles blending; in training and inference.

    Source: Zuiderveld, 1994, "Contrast limited adaptive histogram equalization".

    Args:
        value_range: the range of the values.
        clip_limit: how often a shade of a tile counts at most, in units of the mean; 0 for no limit.
        tile_grid_size: the tiles along height and width.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> import fastk
    >>> layer = fastk.layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))
    >>> layer(fastk.ops.ones((2, 8, 8, 3))).shape
    torch.Size([2, 8, 8, 3])
    """

    moves_pixels = False
    always_active = True

    def __init__(
        self,
        value_range: Any = (0, 255),
        clip_limit: float = 4.0,
        tile_grid_size: Any = (8, 8),
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.value_range = value_range
        self.clip_limit = clip_limit
        self.tile_grid_size = tile_grid_size

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> torch.Tensor:
        """The images, equalized."""
        images = convert_to_tensor(images)
        scaled = self._scaled(images, self.value_range, (0, 255), "float32").float()
        batch = scaled if scaled.ndim == 4 else scaled.unsqueeze(0)
        batch = batch.movedim(self.channel_axis, 1)
        batch = self._equalized(batch).movedim(1, self.channel_axis)
        batch = batch if scaled.ndim == 4 else batch.squeeze(0)
        return self._scaled(batch, (0, 255), self.value_range, "float32").to(images.dtype)

    def _equalized(self, batch: torch.Tensor) -> torch.Tensor:
        """`batch` (batch, channels, height, width) of values from 0 to 255."""
        height, width = batch.shape[-2:]
        rows, columns = self.tile_grid_size
        tile = (height + rows - 1) // rows, (width + columns - 1) // columns
        for axis, size, target in ((-2, height, tile[0] * rows), (-1, width, tile[1] * columns)):
            if target > size:  # mirrored at the border
                batch = batch.index_select(axis, reflected(torch.arange(target, device=batch.device), size))
        shades = batch.clamp(0, 255).to(torch.int64)
        table = self._tables(shades, rows, columns, tile)
        y0, y1, wy = self._between(rows, tile[0], batch)
        x0, x1, wx = self._between(columns, tile[1], batch)
        planes = table.flatten(0, 1).flatten(1)  # [batch * channels, (rows + 2) * (columns + 2) * 256]
        shades_flat = shades.flatten(0, 1)

        def at(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            place = (y[:, None] * (columns + 2) + x) * 256 + shades_flat
            return planes.gather(1, place.flatten(1)).view_as(shades_flat)

        top = at(y0, x0) * (1.0 - wx) + at(y0, x1) * wx
        bottom = at(y1, x0) * (1.0 - wx) + at(y1, x1) * wx
        result = top * (1.0 - wy[:, None]) + bottom * wy[:, None]
        return result.view(batch.shape)[..., :height, :width]

    def _tables(self, shades: torch.Tensor, rows: int, columns: int, tile: tuple[int, int]) -> torch.Tensor:
        """(batch, channels, rows + 2, columns + 2, 256): what each tile maps a shade to, the outermost tiles twice."""
        pixels = tile[0] * tile[1]
        tiled = shades.unflatten(-1, (columns, tile[1])).unflatten(-3, (rows, tile[0]))
        tiled = tiled.movedim(-2, -3).flatten(-2)  # [batch, channels, rows, columns, pixels]
        counts = torch.zeros(*tiled.shape[:-1], 256, device=shades.device)
        counts.scatter_add_(-1, tiled, torch.ones_like(tiled, dtype=counts.dtype))
        if self.clip_limit > 0:
            clipped = counts.clamp(max=self.clip_limit * pixels / 256.0)
            counts = clipped + (counts - clipped).sum(-1, keepdim=True) / 256.0
        below = counts.cumsum(-1)
        least = below.amin(-1, keepdim=True)
        rest = pixels - least
        table = ((below - least) * 255.0 / torch.where(rest == 0, 1.0, rest)).clamp(0, 255)
        table = torch.cat((table[:, :, :1], table, table[:, :, -1:]), dim=2)
        return torch.cat((table[:, :, :, :1], table, table[:, :, :, -1:]), dim=3)

    def _between(self, tiles: int, size: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For each row (or column) the tiles before and after it, and the share of the one after."""
        places = (torch.arange(tiles * size, dtype=torch.float32, device=like.device) - size / 2.0) / size + 1.0
        before = places.floor()
        first, second = (v.clamp(0, tiles + 1).to(torch.int64) for v in (before, before + 1.0))
        return first, second, places - before

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "clip_limit": self.clip_limit,
            "tile_grid_size": self.tile_grid_size,
        }
