"""Batches ahead of their use: copied to the GPU beside its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastk import tree


def to_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches with their tensors on `device`; on a GPU, copied one batch ahead on a stream of its own."""
    if device.type == "cpu":
        return batches
    if device.type == "cuda":
        return _prefetch_to_cuda(batches, device)
    return (_move(batch, lambda leaf: leaf.to(device)) for batch in batches)


def _move(batch: Any, move: Callable[[torch.Tensor], Any]) -> Any:
    def moved(leaf: Any) -> Any:
        return move(leaf) if isinstance(leaf, torch.Tensor) else leaf  # strings stay on the host

    return tree.map_structure(moved, batch, none_is_leaf=False)


def _prefetch_to_cuda(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    copies = torch.cuda.Stream(device)

    def copy(leaf: torch.Tensor) -> torch.Tensor:
        return leaf if leaf.is_cuda else leaf.pin_memory().to(device, non_blocking=True)

    def send(batch: Any) -> tuple[Any, Any]:
        with torch.cuda.stream(copies):
            return _move(batch, copy), copies.record_event()

    def receive(batch: Any, arrived: Any) -> Any:
        current = torch.cuda.current_stream(device)
        current.wait_event(arrived)
        # Their memory belongs to the stream of the copies: it must not be given out again before this stream's work.
        _move(batch, lambda leaf: leaf.record_stream(current))
        return _move(batch, lambda leaf: leaf.to(device))  # what came from another GPU

    under_way: deque[tuple[Any, Any]] = deque()
    for batch in batches:
        under_way.append(send(batch))
        if len(under_way) > 1:
            yield receive(*under_way.popleft())
    if under_way:
        yield receive(*under_way.popleft())
