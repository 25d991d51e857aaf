"""Rows combined by the segment that they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
]


def _segment_spec(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> KerasTensor:
    return KerasTensor((num_segments, *data.shape[1:]), dtype=data.dtype)


def _empty_value(reduction: str, dtype: torch.dtype) -> float:
    """What a segment without elements holds: the value that changes nothing."""
    if reduction in ("sum", "prod"):
        return 0 if reduction == "sum" else 1
    if dtype.is_floating_point:
        return -math.inf if reduction == "amax" else math.inf
    return torch.iinfo(dtype).min if reduction == "amax" else torch.iinfo(dtype).max


def _segment(name: str, reduction: str, doc: str) -> Callable:
    def reduce(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> torch.Tensor:
        data, segment_ids = convert_to_tensor(data), convert_to_tensor(segment_ids, dtype="int64")
        if segment_ids.ndim != 1:
            raise ValueError(
                "Argument `segment_ids` should be an 1-D vector, got shape: "
                f"{tuple(segment_ids.shape)}. Consider either flatten input with segment_ids.reshape((-1)) and "
                "data.reshape((-1, ) + data.shape[len(segment_ids.shape):]) or vectorize with vmap."
            )
        count = int(segment_ids.max()) + 1 if num_segments is None else num_segments
        if data.shape[:1] != segment_ids.shape:
            raise ValueError(
                "Argument `segment_ids` and `data` should have same leading dimension. "
                f"Got {tuple(segment_ids.shape)} v.s. {tuple(data.shape)}."
            )
        # Elements of no segment go to one more, which is cut off.
        outside = (segment_ids < 0) | (segment_ids >= count)
        index = torch.where(outside, count, segment_ids).reshape(-1, *[1] * (data.ndim - 1)).expand_as(data)
        start = data.new_full((count + 1, *data.shape[1:]), _empty_value(reduction, data.dtype))
        return start.scatter_reduce(0, index, data, reduction)[:-1]

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"""{doc} of the rows of `data` that have the same segment id.

    Args:
        data: (rows, ...).
        segment_ids: (rows,), integers; rows whose id is negative or too large are left out.
        num_segments: the number of rows of the result; by default one more than the largest id, which is read on the
            host.
        sorted: whether the ids are sorted; of no effect on the result.
    """
    return operation("data segment_ids", spec=_segment_spec)(reduce)


segment_sum = _segment("segment_sum", "sum", "The sum")
segment_max = _segment("segment_max", "amax", "The maximum")
segment_min = _segment("segment_min", "amin", "The minimum")
segment_prod = _segment("segment_prod", "prod", "The product")
