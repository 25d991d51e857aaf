"""Batches ahead of their use: copied to the GPU beside its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastk import tree

AHEAD = 2
"""Batches that are under way to a GPU while it works on one: one that is copied, and one that has arrived."""


def to_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches with their tensors on `device`; on a GPU, copied `AHEAD` batches ahead on a stream of its own."""
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

    def receive(sent: tuple[Any, Any]) -> Any:
        batch, arrived = sent
        current = torch.cuda.current_stream(device)
        current.wait_event(arrived)
        # Their memory belongs to the stream of the copies: it must not be given out again before this stream's work.
        _move(batch, lambda leaf: leaf.record_stream(current))
        return _move(batch, lambda leaf: leaf.to(device))  # what came from another GPU

    return ahead_of(batches, send, receive, AHEAD)


def ahead_of(
    batches: Iterator[Any], send: Callable[[Any], Any], receive: Callable[[Any], Any], ahead: int
) -> Iterator[Any]:
    """`receive(send(batch))` of each batch, `ahead` of them sent before they are asked for.

    No thread does it: the host goes on while the device works, and makes the next batches then. An exception of
    `batches` is raised after those that were sent before it.
    """
    under_way: deque[Any] = deque()
    failure: Exception | None = None
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        under_way.append(send(batch))
        del batch  # its memory may be what the next batch is made in
        if len(under_way) > ahead:
            yield receive(under_way.popleft())
    while under_way:
        yield receive(under_way.popleft())
    if failure is not None:
        raise failure
