"""Images convolved with fixed kernels: Gaussian blur, Sobel's edges, and the similarity that is made of blurs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config, dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.image.layout import check_rank, from_batch, to_batch
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "gaussian_blur",
    "sobel_edges",
    "ssim",
]


def gaussian(radius: int, sigma: Any, like: torch.Tensor, own_radius: Any = None) -> torch.Tensor:
    """[2 radius + 1]: a Gaussian of sum 1; zero further out than `own_radius` (a tensor), where that is given."""
    places = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    if own_radius is not None:
        weights = torch.where(places.abs() <= own_radius, weights, 0.0)
    return weights / weights.sum()


def blurred(batch: torch.Tensor, radii: tuple[int, int], sigmas: tuple[Any, Any], own_radius: Any = None) -> Any:
    """(batch, channels, height, width) blurred with Gaussians along width and height, zeros around."""
    channels = batch.shape[1]
    kernels = [gaussian(r, s, batch, own_radius).to(batch.dtype) for r, s in zip(radii, sigmas, strict=True)]
    across = kernels[0].view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = kernels[1].view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    batch = F.conv2d(batch, across, padding=(0, radii[0]), groups=channels)
    return F.conv2d(batch, down, padding=(radii[1], 0), groups=channels)


def _like_spec(images: Any, *args: Any, **kwargs: Any) -> KerasTensor:
    check_rank(images.shape)
    return KerasTensor(images.shape, dtype=images.dtype)


@operation("images", spec=_like_spec)
def gaussian_blur(
    images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: str | None = None
) -> torch.Tensor:
    """Images blurred by a Gaussian kernel, zeros around.

    Args:
        images: one image or a batch.
        kernel_size: two odd integers: the elements along width and height.
        sigma: the standard deviations along width and height, in elements.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> from fastk import ops
    >>> ops.image.gaussian_blur(ops.ones((1, 5, 5, 3))).shape
    torch.Size([1, 5, 5, 3])
    """
    images = convert_to_tensor(images)
    check_rank(images.shape)
    radii = [int(n) // 2 for n in kernel_size]
    if len(radii) != 2 or any(n % 2 == 0 for n in kernel_size):
        raise ValueError(f"`kernel_size` must be two odd integers. Received: kernel_size={kernel_size}")
    deviations = sigma if isinstance(sigma, torch.Tensor) else [float(s) for s in sigma]
    batch = to_batch(images, data_format)
    batch = batch if batch.is_floating_point() else batch.float()
    batch = blurred(batch, (radii[0], radii[1]), (deviations[0], deviations[1]))
    return from_batch(batch, images, data_format)


def _sobel_edges_spec(images: Any, data_format: str | None = None) -> KerasTensor:
    _check_batch(images.shape)
    return KerasTensor((*images.shape, 2), dtype=images.dtype)


def _check_batch(shape: Any) -> None:
    if len(shape) != 4:
        raise ValueError(
            f"Invalid images rank: expected rank 4 (batch of images). Received: images.shape={tuple(shape)}"
        )


@operation("images", spec=_sobel_edges_spec)
def sobel_edges(images: Any, data_format: str | None = None) -> torch.Tensor:
    """The derivatives of images along height and width, by Sobel's operator, zeros around.

    Args:
        images: a batch.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    Returns:
        The images' shape with a last axis of 2: the derivative along height, and that along width.

    >>> from fastk import ops
    >>> ops.image.sobel_edges(ops.ones((1, 5, 5, 3))).shape
    torch.Size([1, 5, 5, 3, 2])
    """
    images = convert_to_tensor(images)
    _check_batch(images.shape)
    batch = to_batch(images, data_format)
    channels = batch.shape[1]
    places = torch.arange(-1, 2, dtype=batch.dtype, device=batch.device)
    across = torch.outer(2 - places.abs(), places)  # smoothed down, differences across
    kernel = torch.stack((across.T, across)).unsqueeze(1).repeat(channels, 1, 1, 1)  # [2 channels, 1, 3, 3]
    edges = F.conv2d(batch, kernel, padding=1, groups=channels).unflatten(1, (channels, 2))
    last = config.standardize_data_format(data_format) == "channels_last"
    return edges.permute(0, 3, 4, 1, 2) if last else edges.permute(0, 1, 3, 4, 2)


def _ssim_spec(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> KerasTensor:
    shape = _check_pair(shape_of(image1), shape_of(image2))
    return KerasTensor(shape[:1] if len(shape) == 4 else (), dtype=image1.dtype)


def _check_pair(*shapes: Any) -> Any:
    for name, shape in zip(("image1", "image2"), shapes, strict=True):
        if len(shape) not in (3, 4):
            raise ValueError(
                f"Invalid {name} rank: expected rank 3 (single image) or rank 4 (batch of images). Received input with "
                f"shape: {name}.shape={tuple(shape)}"
            )
    return shapes[0]


@operation("image1 image2", spec=_ssim_spec, name="SSIM")
def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> torch.Tensor:
    """The structural similarity of images, 1 where they are equal.

    Source: Wang et al., 2004, "Image quality assessment: from error visibility to structural similarity".

    Args:
        image1, image2: images, or batches of them.
        max_val: the range of the values.
        filter_size, filter_sigma: of the Gaussian that weights a neighbourhood.
        k1, k2: what keeps the quotient stable, as shares of `max_val`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    Returns:
        A scalar, or one for each image of a batch.

    >>> from fastk import ops
    >>> x = ops.ones((1, 16, 16, 3))
    >>> ops.image.ssim(x, x)
    tensor([1.])
    """
    first, second = convert_to_tensor(image1), convert_to_tensor(image2)
    _check_pair(first.shape, second.shape)
    dtype = dtypes.to_torch_dtype(dtypes.result_type(dtypes.standardize_dtype(first.dtype), float))
    a, b = (to_batch(x, data_format).to(dtype) for x in (first, second))
    places = torch.arange(filter_size, dtype=dtype, device=a.device) - (filter_size - 1) / 2.0
    weights = torch.exp(-(places**2) / (2.0 * filter_sigma**2))
    weights = weights / weights.sum()
    # One convolution for all five means, of which each is over the same windows.
    planes = torch.stack((a, b, a * a, b * b, a * b))
    flat = planes.flatten(0, 2).unsqueeze(1)
    flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    mean_a, mean_b, square_a, square_b, product = flat.unflatten(0, planes.shape[:3]).squeeze(3).unbind(0)
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    similarity = (2.0 * mean_a * mean_b + c1) * (2.0 * (product - mean_a * mean_b) + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (square_a - mean_a**2 + square_b - mean_b**2 + c2))
    result = similarity.mean(dim=(1, 2, 3)).to(first.dtype)
    return result if first.ndim == 4 else result.squeeze(0)
