"""`convert_format`: how the four numbers of a box are written.

Every format is an order of the coordinates, and a way to say the second corner; `rel_` before it means shares of the
image's size. All are converted by way of `xyxy`: left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk.tensor import convert_to_tensor

Parts = tuple[torch.Tensor, ...]

SUPPORTED_FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def _swapped(parts: Parts) -> Parts:
    a, b, c, d = parts
    return b, a, d, c


def _from_size(parts: Parts) -> Parts:
    x, y, width, height = parts
    return x, y, x + width, y + height


def _to_size(parts: Parts) -> Parts:
    left, top, right, bottom = parts
    return left, top, right - left, bottom - top


def _from_centre(parts: Parts) -> Parts:
    x, y, width, height = parts
    half_width, half_height = width / 2.0, height / 2.0
    return x - half_width, y - half_height, x + half_width, y + half_height


def _to_centre(parts: Parts) -> Parts:
    left, top, right, bottom = parts
    width, height = right - left, bottom - top
    return left + width / 2.0, top + height / 2.0, width, height


def _same(parts: Parts) -> Parts:
    return parts


# Of each format without its `rel_`: to xyxy, and from it.
_CONVERTERS: dict[str, tuple[Callable[[Parts], Parts], Callable[[Parts], Parts]]] = {
    "xyxy": (_same, _same),
    "yxyx": (_swapped, _swapped),
    "xywh": (_from_size, _to_size),
    "center_xywh": (_from_centre, _to_centre),
    "center_yxhw": (lambda parts: _from_centre(_swapped(parts)), lambda parts: _swapped(_to_centre(parts))),
}


def parts_of(boxes: torch.Tensor) -> Parts:
    """The four numbers of the boxes, each with a last axis of 1."""
    return boxes.split(1, dim=-1)


def convert_format(
    boxes: Any, source: str, target: str, height: Any = None, width: Any = None, dtype: Any = "float32"
) -> Any:
    """Boxes in another format.

    Args:
        boxes: (..., 4), or a dict that holds them under `"boxes"`.
        source: the format they are in: `"xyxy"` (left, top, right, bottom), `"yxyx"`, `"xywh"` (left, top, width,
            height), `"center_xywh"` (the centre, width, height), `"center_yxhw"`, and the first four with `"rel_"`
            before: shares of the image's size.
        target: the format of the result.
        height, width: the image's size; needed from and to shares.
        dtype: of the result.

    Returns:
        The boxes; a dict where one was given, a new one.

    >>> from fastk.utils import bounding_boxes
    >>> bounding_boxes.convert_format([[1.0, 2.0, 3.0, 6.0]], source="xyxy", target="xywh")
    tensor([[1., 2., 2., 4.]])
    """
    if isinstance(boxes, dict):
        converted = convert_format(boxes["boxes"], source, target, height, width, dtype)
        return {**boxes, "boxes": converted}
    boxes = convert_to_tensor(boxes, dtype=dtype)
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(
            f"`boxes` must be a tensor with the last dimension of 4. Received: boxes.shape={tuple(boxes.shape)}"
        )
    source, target = source.lower(), target.lower()
    if source not in SUPPORTED_FORMATS or target not in SUPPORTED_FORMATS:
        raise ValueError(
            f"Invalid source or target format. Supported formats: {SUPPORTED_FORMATS}. Received: source={source}, "
            f"target={target}"
        )
    from_shares, to_shares = source.startswith("rel_"), target.startswith("rel_")
    if (from_shares or to_shares) and (width is None or height is None):
        raise ValueError(
            "convert_format() must receive `height` and `width` transforming between relative and absolute formats."
            f"convert_format() received source=`{source}`, target=`{target}, but height={height} and width={width}."
        )
    if source == target:
        return boxes
    parts = _CONVERTERS[source.removeprefix("rel_")][0](parts_of(boxes))
    if from_shares and not to_shares:
        parts = tuple(part * size for part, size in zip(parts, (width, height) * 2, strict=True))
    parts = _CONVERTERS[target.removeprefix("rel_")][1](parts)
    if to_shares and not from_shares:
        sizes = (height, width) if target == "rel_yxyx" else (width, height)
        parts = tuple(part / size for part, size in zip(parts, sizes * 2, strict=True))
    return torch.cat(parts, dim=-1)
