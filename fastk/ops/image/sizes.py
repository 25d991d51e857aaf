"""Functions that change the size of images: resize, pad, crop, cut into patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.image.layout import channels_axis, check_rank, computable, from_batch, size_axes, to_batch
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "crop_images",
    "extract_patches",
    "extract_patches_3d",
    "pad_images",
    "resize",
]

_TORCH_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


def _lanczos(lobes: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: torch.where(t.abs() < lobes, torch.sinc(t) * torch.sinc(t / lobes), 0.0)


_KERNELS = {"lanczos3": _lanczos(3), "lanczos5": _lanczos(5)}


def _with_size(images: Any, size: Sequence[int | None], data_format: str | None) -> KerasTensor:
    shape = list(images.shape)
    for axis, n in zip(size_axes(data_format), size, strict=True):
        shape[axis] = n
    return KerasTensor(shape, dtype=images.dtype)


def _check_resize(
    shape: Sequence[Any], size: Any, interpolation: str, crop: bool, pad: bool, fill_mode: str
) -> tuple[int, int]:
    if interpolation not in (*_TORCH_MODES, *_KERNELS):
        raise ValueError(
            f"Invalid value for argument `interpolation`. Expected of one {[*_TORCH_MODES, *_KERNELS]}. Received: "
            f"interpolation={interpolation}"
        )
    if fill_mode != "constant":
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Only `'constant'` is supported. Received: fill_mode={fill_mode}"
        )
    if pad and crop:
        raise ValueError("Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`.")
    if not hasattr(size, "__len__") or len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers. Received: size={size}")
    if any(n <= 0 for n in size):
        raise ValueError(f"`size` must have positive height and width. Received: size={size}")
    check_rank(shape)
    return int(size[0]), int(size[1])


def _resize_spec(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> KerasTensor:
    target = _check_resize(images.shape, size, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio, fill_mode)
    return _with_size(images, target, data_format)


@operation("images", spec=_resize_spec)
def resize(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images in another size.

    Args:
        images: one image or a batch; integers are computed in float32 and rounded.
        size: (height, width).
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: whether a smaller image is smoothed first; without effect on `"nearest"`.
        crop_to_aspect_ratio: cut the image to the new aspect ratio first, around its centre.
        pad_to_aspect_ratio: extend it to the new aspect ratio first, with `fill_value`.
        fill_mode: must be `"constant"`.
        fill_value: what is added.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> from fastk import ops
    >>> ops.image.resize(ops.ones((4, 4, 3)), (2, 8)).shape
    torch.Size([2, 8, 3])
    """
    images = convert_to_tensor(images)
    target = _check_resize(images.shape, size, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio, fill_mode)
    batch = computable(to_batch(images, data_format))
    if crop_to_aspect_ratio:
        batch = _cropped_to_ratio(batch, target)
    elif pad_to_aspect_ratio:
        batch = _padded_to_ratio(batch, target, fill_value)
    if interpolation in _KERNELS:
        batch = _resampled(batch, target, _KERNELS[interpolation], antialias)
    else:
        smooth = interpolation != "nearest"
        batch = F.interpolate(
            batch,
            size=target,
            mode=_TORCH_MODES[interpolation],
            align_corners=False if smooth else None,
            antialias=antialias and smooth,
        )
    if images.dtype is torch.uint8:
        batch = batch.clamp(0, 255)
    return from_batch(batch, images, data_format)


def _cropped_to_ratio(batch: torch.Tensor, target: tuple[int, int]) -> torch.Tensor:
    height, width = batch.shape[-2:]
    new_height = max(min(height, int(width * target[0] / target[1])), 1)
    new_width = max(min(width, int(height * target[1] / target[0])), 1)
    top, left = int((height - new_height) / 2), int((width - new_width) / 2)
    return batch[..., top : top + new_height, left : left + new_width]


def _padded_to_ratio(batch: torch.Tensor, target: tuple[int, int], value: float) -> torch.Tensor:
    height, width = batch.shape[-2:]
    top = int((max(height, int(width * target[0] / target[1])) - height) / 2)
    left = int((max(width, int(height * target[1] / target[0])) - width) / 2)
    return F.pad(batch, (left, left, top, top), value=value)


def _resampled(batch: torch.Tensor, target: tuple[int, int], kernel: Callable, antialias: bool) -> torch.Tensor:
    """Interpolation by a kernel, one axis after the other, each as a product with a matrix of weights."""
    for axis, size in zip((-2, -1), target, strict=True):
        weights = _weights(batch.shape[axis], size, kernel, antialias, batch)
        batch = torch.movedim(torch.matmul(torch.movedim(batch, axis, -1), weights.T), -1, axis)
    return batch


def _weights(size: int, target: int, kernel: Callable, antialias: bool, like: torch.Tensor) -> torch.Tensor:
    """[target, size]: how much of each element goes into each new one."""
    scale = size / target
    stretch = max(scale, 1.0) if antialias else 1.0
    centres = (torch.arange(target, dtype=like.dtype, device=like.device) + 0.5) * scale - 0.5
    places = torch.arange(size, dtype=like.dtype, device=like.device)
    weights = kernel((places[None] - centres[:, None]) / stretch)
    return weights / weights.sum(1, keepdim=True)


# ---------------------------------------------------------------- padding and cropping


def _sides(
    names: Sequence[str], before: int | None, after: int | None, target: int | None, size: int | None, sign: int
) -> tuple[int | None, int | None, int | None]:
    """(before, after, target) of one axis from two of them; `sign` 1 pads, -1 crops. None where `size` is unknown."""
    if sum(v is None for v in (before, after, target)) != 1:
        raise ValueError(
            f"Must specify exactly two of {', '.join(names)}. Received: "
            + ", ".join(f"{name}={value}" for name, value in zip(names, (before, after, target), strict=True))
        )
    if size is not None:
        if target is None:
            target = size + sign * (before + after)  # type: ignore[operator]
        elif before is None:
            before = sign * (target - size) - after  # type: ignore[operator]
        else:
            after = sign * (target - size) - before
    for name, value in zip(names, (before, after, target), strict=True):
        if value is not None and value < 0:
            raise ValueError(f"{name} must be >= 0. Received: {name}={value}")
    return before, after, target


def _border(
    kind: str,
    shape: Sequence[int | None],
    vertical: Sequence[int | None],
    horizontal: Sequence[int | None],
    data_format: str | None,
) -> list[tuple[int | None, int | None, int | None]]:
    """(before, after, target) of height and width."""
    check_rank(shape)
    sign = 1 if kind == "padding" else -1
    names = [
        (f"top_{kind}", f"bottom_{kind}", "target_height"),
        (f"left_{kind}", f"right_{kind}", "target_width"),
    ]
    sizes = [shape[axis] for axis in size_axes(data_format)]
    return [
        _sides(name, *values, size, sign)  # type: ignore[misc]
        for name, values, size in zip(names, (vertical, horizontal), sizes, strict=True)
    ]


def _pad_images_spec(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> KerasTensor:
    vertical, horizontal = (top_padding, bottom_padding, target_height), (left_padding, right_padding, target_width)
    border = _border("padding", images.shape, vertical, horizontal, data_format)
    return _with_size(images, [target for _, _, target in border], data_format)


@operation("images", spec=_pad_images_spec)
def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images with zeros around. Of top, bottom and target height two are given, and of left, right and target width.

    >>> from fastk import ops
    >>> ops.image.pad_images(ops.ones((2, 2, 1)), 1, 0, target_height=4, target_width=3)[..., 0]
    tensor([[0., 0., 0.],
            [1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 0.]])
    """
    images = convert_to_tensor(images)
    vertical, horizontal = (top_padding, bottom_padding, target_height), (left_padding, right_padding, target_width)
    (top, bottom, _), (left, right, _) = _border("padding", images.shape, vertical, horizontal, data_format)
    last = channels_axis(data_format) == -1
    return F.pad(images, (0, 0, left, right, top, bottom) if last else (left, right, top, bottom))  # type: ignore[arg-type]


def _crop_images_spec(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> KerasTensor:
    vertical, horizontal = (top_cropping, bottom_cropping, target_height), (left_cropping, right_cropping, target_width)
    border = _border("cropping", images.shape, vertical, horizontal, data_format)
    return _with_size(images, [target for _, _, target in border], data_format)


@operation("images", spec=_crop_images_spec)
def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images without their borders; two of top, bottom and target height are given, and two of the widths."""
    images = convert_to_tensor(images)
    vertical, horizontal = (top_cropping, bottom_cropping, target_height), (left_cropping, right_cropping, target_width)
    border = _border("cropping", images.shape, vertical, horizontal, data_format)
    for axis, (before, _, target) in zip(size_axes(data_format), border, strict=True):
        images = torch.narrow(images, axis, before, target)  # type: ignore[arg-type]
    return images


# ---------------------------------------------------------------- patches


def _patch_arguments(rank: int, size: Any, strides: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sizes = (size,) * rank if isinstance(size, int) else tuple(size)
    steps = sizes if not strides else (strides,) * rank if isinstance(strides, int) else tuple(strides)
    if len(steps) != rank:
        raise ValueError(f"Invalid `strides` argument. Expected an int or {rank} of them. Received: strides={strides}")
    return sizes, steps


def _patch_rank(size: Any) -> int:
    if isinstance(size, int):
        return 2
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"Invalid `size` argument. Expected an int or a tuple. Received: size={size} of type {type(size).__name__}"
        )
    if len(size) not in (2, 3):
        raise ValueError(
            f"Invalid `size` argument. Expected a tuple of length 2 or 3. Received: size={size} with length {len(size)}"
        )
    return len(size)


def _extract_patches_spec(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> KerasTensor:
    rank = _patch_rank(size)
    sizes, steps = _patch_arguments(rank, size, strides)
    last = config.standardize_data_format(data_format) == "channels_last"
    shape = list(shape_of(images))
    first = len(shape) - rank - 1 if last else len(shape) - rank
    channels = shape[-1] if last else shape[first - 1]
    dilation = (dilation_rate,) * rank if isinstance(dilation_rate, int) else tuple(dilation_rate)
    for i, (extent, step, gap) in enumerate(zip(sizes, steps, dilation, strict=True)):
        n = shape[first + i]
        if n is not None:
            shape[first + i] = -(-n // step) if padding == "same" else (n - (extent - 1) * gap - 1) // step + 1
    shape[-1 if last else first - 1] = None if channels is None else channels * math.prod(sizes)
    return KerasTensor(shape, dtype=images.dtype)


@operation("images", spec=_extract_patches_spec)
def extract_patches(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> torch.Tensor:
    """The windows of images, or of volumes where `size` has three parts, as channels.

    Args:
        images: (..., height, width, channels), with or without a batch; volumes have a depth before the height.
        size: of the windows.
        strides: their distance; by default their size.
        dilation_rate: the distance of a window's elements.
        padding: `"valid"`, or `"same"`: zeros around.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        (..., rows, columns, height * width * channels of a window).

    >>> from fastk import ops
    >>> ops.image.extract_patches(ops.ones((1, 6, 6, 3)), 2).shape
    torch.Size([1, 3, 3, 12])
    """
    rank = _patch_rank(size)
    sizes, steps = _patch_arguments(rank, size, strides)
    dilation = (dilation_rate,) * rank if isinstance(dilation_rate, int) else tuple(dilation_rate)
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding}")
    last = config.standardize_data_format(data_format) == "channels_last"
    x = convert_to_tensor(images)
    x = x if last else torch.movedim(x, -rank - 1, -1)
    batched = x.ndim == rank + 2
    x = x if batched else x.unsqueeze(0)
    widths: list[int] = []
    for n, extent, step, gap in zip(x.shape[1:-1], sizes, steps, dilation, strict=True):
        total = max(0, (-(-n // step) - 1) * step + (extent - 1) * gap + 1 - n) if padding == "same" else 0
        widths = [total // 2, total - total // 2, *widths]
    x = F.pad(x, (0, 0, *widths)) if any(widths) else x
    for axis, (extent, step, gap) in enumerate(zip(sizes, steps, dilation, strict=True), start=1):
        x = x.unfold(axis, (extent - 1) * gap + 1, step)[..., ::gap]
    # (batch, rows, columns, channels, height, width of a window), the channels to the end.
    x = torch.movedim(x, rank + 1, -1).flatten(rank + 1)
    x = x if batched else x.squeeze(0)
    return x if last else torch.movedim(x, -1, -rank - 1)


def extract_patches_3d(
    volumes: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> torch.Tensor:
    """`extract_patches` of volumes, also where `size` is one int."""
    size = (size,) * 3 if isinstance(size, int) else size
    return extract_patches(volumes, size, strides, dilation_rate, padding, data_format)
