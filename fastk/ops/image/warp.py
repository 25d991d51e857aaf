"""Images sampled at other places: affine, perspective and elastic transformations, all of them one gather.

An output's element is read at coordinates of the input. Coordinates between elements mix their neighbours
(`"bilinear"`) or take the nearest (`"nearest"`, ties to even); coordinates outside follow the fill mode, of which the
names are those of SciPy's `ndimage`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastk import config, dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.image.filters import blurred
from fastk.ops.image.layout import check_rank, working_dtype
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.random import counter
from fastk.random.seed_generator import draw_seed
from fastk.tensor import convert_to_tensor

__all__ = [
    "affine_transform",
    "elastic_transform",
    "map_coordinates",
    "perspective_transform",
]

ORDERS = {"nearest": 0, "bilinear": 1}


def _clipped(index: torch.Tensor, size: int) -> torch.Tensor:
    return index.clamp(0, size - 1)


def _wrapped(index: torch.Tensor, size: int) -> torch.Tensor:
    return index % size


def _mirrored(index: torch.Tensor, size: int) -> torch.Tensor:
    """Reflection about the centres of the outermost elements."""
    last = size - 1
    return ((index + last) % (2 * last) - last).abs() if last else torch.zeros_like(index)


def reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Reflection about the outer edges of the outermost elements."""
    return (_mirrored(2 * index + 1, 2 * size + 1) - 1) // 2


_FIXES: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "constant": _clipped,
    "nearest": _clipped,
    "wrap": _wrapped,
    "mirror": _mirrored,
    "reflect": reflected,
}


def check_modes(interpolation: str, fill_mode: str = "constant") -> None:
    """Raises `ValueError` for an unknown way to interpolate, or to fill."""
    for name, value, known in (("interpolation", interpolation, ORDERS), ("fill_mode", fill_mode, _FIXES)):
        if value not in known:
            raise ValueError(
                f"Invalid value for argument `{name}`. Expected of one {set(known)}. Received: {name}={value}"
            )


def _neighbours(coordinate: torch.Tensor, size: int, order: int, fill_mode: str) -> list[tuple]:
    """The elements of one axis that a coordinate reads: (index within bounds, whether it was so before, weight)."""
    if order == 0:
        nearest = coordinate.round() if coordinate.is_floating_point() else coordinate
        found = [(nearest.to(torch.int64), None)]
    else:
        lower = coordinate.floor() if coordinate.is_floating_point() else coordinate
        share = coordinate - lower
        index = lower.to(torch.int64)
        found = [(index, 1 - share), (index + 1, share)]
    fix = _FIXES[fill_mode]
    outside = fill_mode == "constant"
    return [(fix(i, size), (i >= 0) & (i < size) if outside else None, weight) for i, weight in found]


def sampled(
    values: torch.Tensor,
    sizes: Sequence[int],
    coordinates: Sequence[torch.Tensor],
    start: torch.Tensor | int,
    order: int,
    fill_mode: str,
    fill_value: Any,
) -> torch.Tensor:
    """Values at coordinates of one or more arrays that lie behind each other.

    Args:
        values: (elements, channels): the arrays, flat.
        sizes: of one array.
        coordinates: for each axis of an array a tensor of places, all of one shape.
        start: where the array that a place is read from starts in `values`; broadcasts with the coordinates.
        order: 0 for the nearest element, 1 to interpolate.
        fill_mode, fill_value: what is outside.

    Returns:
        The coordinates' shape, with a last axis of channels; the dtype of `values`.
    """
    integers = not values.is_floating_point()
    fill_value = int(fill_value) if integers and isinstance(fill_value, float) else fill_value
    axes = [_neighbours(c, n, order, fill_mode) for c, n in zip(coordinates, sizes, strict=True)]
    total = None
    for corner in itertools.product(*axes):
        place: Any = 0
        inside = weight = None
        for (index, valid, share), size in zip(corner, sizes, strict=True):
            place = place * size + index
            inside = valid if inside is None else inside & valid
            weight = share if weight is None else weight * share
        place = place + start
        term = values.index_select(0, place.flatten()).view(*place.shape, values.shape[-1])
        if inside is not None:
            term = torch.where(inside[..., None], term, fill_value)
        if weight is not None:
            term = weight[..., None] * term
        total = term if total is None else total + term
    if total is None:
        raise ValueError("There must be at least one axis.")
    if integers and total.is_floating_point():
        total = total.round()
    return total.to(values.dtype)


# ---------------------------------------------------------------- arrays of any rank


def _map_coordinates_spec(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: Any = 0
) -> KerasTensor:
    shape = shape_of(coordinates)
    if shape[0] != len(inputs.shape):
        raise ValueError(_wrong_rank(inputs.shape, shape[0]))
    if len(shape) < 2:
        raise ValueError(f"Invalid coordinates rank: expected at least rank 2. Received input with shape: {shape}")
    return KerasTensor(shape[1:], dtype=inputs.dtype)


def _wrong_rank(shape: Any, leading: Any) -> str:
    return (
        "First dim of `coordinates` must be the same as the rank of `inputs`. Received inputs with shape: "
        f"{tuple(shape)} and coordinate leading dim of {leading}"
    )


@operation("inputs coordinates", spec=_map_coordinates_spec)
def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: Any = 0
) -> torch.Tensor:
    """The elements of an array at given coordinates.

    Args:
        inputs: an array of rank n.
        coordinates: (n, ...): for each axis of `inputs` the places to read, in elements.
        order: 0: the nearest element; 1: linear interpolation.
        fill_mode: what lies outside: `"constant"`, `"nearest"`, `"wrap"`, `"mirror"` or `"reflect"`.
        fill_value: with `"constant"`.

    Returns:
        The shape `coordinates.shape[1:]`.

    >>> from fastk import ops
    >>> ops.image.map_coordinates(ops.array([1.0, 2.0, 4.0]), [[0.5, 2.0, 9.0]], order=1)
    tensor([1.5000, 4.0000, 0.0000])
    """
    inputs = convert_to_tensor(inputs)
    places = [convert_to_tensor(c) for c in coordinates]
    if len(places) != inputs.ndim:
        raise ValueError(_wrong_rank(inputs.shape, len(places)))
    if places[0].ndim < 1:
        raise ValueError(
            f"Invalid coordinates rank: expected at least rank 2. Received input with shape: {(len(places),)}"
        )
    if fill_mode not in _FIXES:
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Expected one of {set(_FIXES)}. Received: fill_mode={fill_mode}"
        )
    if order not in (0, 1):
        raise NotImplementedError(f"map_coordinates currently requires order<=1. Received: order={order}")
    return sampled(inputs.reshape(-1, 1), inputs.shape, places, 0, order, fill_mode, fill_value)[..., 0]


# ---------------------------------------------------------------- images


class Frames:
    """A batch of images as rows of channels, and back: channels last, a batch axis where there was none."""

    def __init__(self, images: torch.Tensor, data_format: str | None):
        self.last = config.standardize_data_format(data_format) == "channels_last"
        self.batched = images.ndim == 4
        batch = images if self.batched else images.unsqueeze(0)
        self.batch = batch if self.last else torch.movedim(batch, 1, -1)
        self.size, self.height, self.width, self.channels = self.batch.shape

    def grid(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows (height, 1) and columns (width) of the elements."""
        device = self.batch.device
        rows = torch.arange(self.height, dtype=dtype, device=device)[:, None]
        return rows, torch.arange(self.width, dtype=dtype, device=device)

    def at(self, y: torch.Tensor, x: torch.Tensor, interpolation: str, fill_mode: str, fill_value: Any) -> torch.Tensor:
        """The images read at (batch, height, width) places, in the layout that they came in."""
        y, x = torch.broadcast_tensors(y, x)
        area = self.height * self.width
        start = torch.arange(self.size, device=self.batch.device)[:, None, None] * area
        rows = self.batch.reshape(-1, self.channels)
        order = ORDERS[interpolation]
        result = sampled(rows, (self.height, self.width), (y, x), start, order, fill_mode, fill_value)
        result = result if self.last else torch.movedim(result, -1, 1)
        return result if self.batched else result.squeeze(0)


def _projected(frames: Frames, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, x) in the input of each output element; `matrix` (batch, 8) as `affine_transform` describes it."""
    rows, columns = frames.grid(matrix.dtype)
    a0, a1, a2, b0, b1, b2, c0, c1 = matrix[:, :, None, None].unbind(1)
    scale = c0 * columns + c1 * rows + 1
    return (b1 * rows + b0 * columns + b2) / scale, (a1 * rows + a0 * columns + a2) / scale


def _affine_transform_spec(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> KerasTensor:
    check_rank(shape_of(images))
    _check_transform(shape_of(transform))
    return KerasTensor(shape_of(images), dtype=images.dtype)


def _check_transform(shape: Any) -> None:
    if len(shape) not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). Received "
            f"input with shape: transform.shape={tuple(shape)}"
        )


@operation("images transform", spec=_affine_transform_spec)
def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images under projective transformations.

    Args:
        images: one image or a batch.
        transform: (8,) or (batch, 8): `[a0, a1, a2, b0, b1, b2, c0, c1]`. The output's (x, y) is read at
            `((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)` of the input, `k = c0 x + c1 y + 1`.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: what lies outside: `"constant"`, `"nearest"`, `"wrap"`, `"mirror"` or `"reflect"`.
        fill_value: with `"constant"`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> from fastk import ops
    >>> image = ops.reshape(ops.arange(4.0), (2, 2, 1))
    >>> ops.image.affine_transform(image, [1.0, 0, -1.0, 0, 1.0, 0, 0, 0])[..., 0]
    tensor([[0., 0.],
            [0., 2.]])
    """
    check_modes(interpolation, fill_mode)
    images, matrix = convert_to_tensor(images), convert_to_tensor(transform)
    check_rank(images.shape)
    _check_transform(matrix.shape)
    matrix = matrix if matrix.is_floating_point() else matrix.float()
    matrix = matrix if matrix.ndim == 2 else matrix.unsqueeze(0)
    frames = Frames(images, data_format)
    y, x = _projected(frames, matrix.expand(frames.size, 8))
    return frames.at(y, x, interpolation, fill_mode, fill_value)


def homography(start_points: torch.Tensor, end_points: torch.Tensor) -> torch.Tensor:
    """(batch, 8): the projective transformations that take four end points to four start points.

    Args:
        start_points, end_points: (batch, 4, 2), each point (x, y).
    """
    start, end = start_points.unbind(-1), end_points.unbind(-1)
    zero, one = torch.zeros_like(end[0]), torch.ones_like(end[0])
    forward = torch.stack((end[0], end[1], one), dim=-1)
    nothing = torch.stack((zero, zero, zero), dim=-1)
    rows = []
    for i, sides in enumerate(((forward, nothing), (nothing, forward))):
        bent = torch.stack((-start[i] * end[0], -start[i] * end[1]), dim=-1)
        rows.append(torch.cat((*sides, bent), dim=-1))
    system = torch.stack(rows, dim=2).flatten(1, 2)  # [batch, 8, 8], a row for x and one for y of each point
    working = working_dtype(system.dtype)
    target = start_points.flatten(1).to(working)
    # `solve_ex` leaves it to the caller to look for singular systems: it does not wait for the device.
    return torch.linalg.solve_ex(system.to(working), target).result.to(start_points.dtype)


def _perspective_transform_spec(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> KerasTensor:
    check_rank(shape_of(images))
    _check_points(shape_of(start_points), shape_of(end_points))
    return KerasTensor(shape_of(images), dtype=images.dtype)


def _check_points(start: Any, end: Any) -> None:
    for name, shape in (("start_points", start), ("end_points", end)):
        if tuple(shape[-2:]) != (4, 2) or len(shape) not in (2, 3):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. Received shape: "
                f"{tuple(shape)}"
            )
    if tuple(start) != tuple(end):
        raise ValueError(
            "start_points and end_points must have the same shape. Received "
            f"start_points.shape={tuple(start)}, end_points.shape={tuple(end)}"
        )


@operation("images start_points end_points", spec=_perspective_transform_spec)
def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images seen from elsewhere: what was at four start points is at four end points.

    Args:
        images: one image or a batch.
        start_points, end_points: (4, 2) or (batch, 4, 2): points (x, y).
        interpolation: `"nearest"` or `"bilinear"`.
        fill_value: what lies outside.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> from fastk import ops
    >>> corners = ops.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 3.0]])
    >>> ops.image.perspective_transform(ops.ones((4, 4, 3)), corners, corners * 0.5).shape
    torch.Size([4, 4, 3])
    """
    check_modes(interpolation)
    images = convert_to_tensor(images)
    check_rank(images.shape)
    points = [convert_to_tensor(p) for p in (start_points, end_points)]
    _check_points(points[0].shape, points[1].shape)
    dtype = images.dtype if images.is_floating_point() else dtypes.to_torch_dtype(config.floatx())
    start, end = (p.to(dtype) if p.ndim == 3 else p.to(dtype).unsqueeze(0) for p in points)
    frames = Frames(images, data_format)
    y, x = _projected(frames, homography(start, end).expand(frames.size, 8))
    return frames.at(y, x, interpolation, "constant", fill_value)


@operation("images", spec=lambda images, *args, **kwargs: _like(images))
def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: Any = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> torch.Tensor:
    """Images distorted by a smooth random field of displacements.

    Source: Simard, Steinkraus and Platt, 2003, "Best practices for convolutional neural networks".

    Args:
        images: one image or a batch.
        alpha: how far, as a factor of the field.
        sigma: how smooth: the standard deviation of the Gaussian that the field is blurred with, in elements.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode, fill_value: as in `affine_transform`.
        seed: an integer, or a `SeedGenerator`.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.

    >>> from fastk import ops
    >>> ops.image.elastic_transform(ops.ones((1, 8, 8, 3)), alpha=2.0, sigma=1.0, seed=1).shape
    torch.Size([1, 8, 8, 3])
    """
    return distorted(images, alpha, sigma, float(sigma), interpolation, fill_mode, fill_value, seed, data_format)


def _like(images: Any) -> KerasTensor:
    check_rank(images.shape)
    return KerasTensor(images.shape, dtype=images.dtype)


def distorted(
    images: Any,
    alpha: Any,
    sigma: Any,
    greatest_sigma: float,
    interpolation: str,
    fill_mode: str,
    fill_value: Any,
    seed: Any,
    data_format: str | None,
) -> torch.Tensor:
    """`elastic_transform` where `alpha` and `sigma` may be tensors, of which no more is known than a bound of sigma."""
    check_modes(interpolation, fill_mode)
    images = convert_to_tensor(images)
    check_rank(images.shape)
    frames = Frames(images, data_format)
    dtype = images.dtype if images.is_floating_point() else torch.float32
    shape = (2, frames.size, frames.height, frames.width)
    if images.is_meta:
        field = torch.empty(shape, device="meta", dtype=dtype)
    else:
        working = working_dtype(dtype)
        start = seed if isinstance(seed, torch.Tensor) else draw_seed(seed)
        field = counter.normal(shape, start.to(images.device), working).to(dtype) * sigma
    radius = (int(6 * greatest_sigma) | 1) // 2
    # The kernel has `int(6 sigma) | 1` elements: of those that the bound asks for, the outer ones do not count.
    own = ((6 * sigma).to(torch.int64) | 1) // 2 if isinstance(sigma, torch.Tensor) else None
    field = blurred(field.flatten(0, 1).unsqueeze(1), (radius, radius), (sigma, sigma), own)
    dx, dy = field.squeeze(1).unflatten(0, (2, frames.size)).unbind(0)
    rows, columns = frames.grid(working_dtype(dtype))
    return frames.at(rows + alpha * dy, columns + alpha * dx, interpolation, fill_mode, fill_value)
