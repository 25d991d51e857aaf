"""Gradients of a part of a batch made those of the whole batch, before an optimizer applies them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from fastk.distribution import share
from fastk.distribution.ranks import Group

BUCKET_BYTES = 25 * 2**20
"""How much is sent at once: gradients are copied one after the other into buffers of about this size."""


class _State:
    are_averaged = False


_state = _State()


@contextlib.contextmanager
def averaged_already() -> Iterator[None]:
    """Inside, gradients are those of the whole batch: an optimizer hands them on to another one."""
    before, _state.are_averaged = _state.are_averaged, True
    try:
        yield
    finally:
        _state.are_averaged = before


def averaged(gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor], group: Group) -> list[Any]:
    """The mean of the gradients over all processes, each counting by its share of the batch.

    A gradient that no process has stays None. One that some have counts as 0 for the others.

    Args:
        gradients: one for each parameter, of its shape and dtype; None where it has none.
        parameters: the same ones on all processes.
        group: the processes.

    Returns:
        New tensors, the same on every process, bit for bit.
    """
    if _state.are_averaged or not parameters:
        return list(gradients)
    own = share.of_gradients(group)
    buckets = _buckets(parameters)
    flat = [_flattened(gradients, parameters, bucket).mul_(own) for bucket in buckets]
    lacking = [i for i, g in enumerate(gradients) if g is None]
    are_there = torch.ones(len(gradients), device=flat[0].device)
    if lacking:
        are_there[lacking] = 0.0
    group.sum_all_([*flat, are_there], "the gradients")
    result: list[Any] = [None] * len(gradients)
    for bucket, values in zip(buckets, flat, strict=True):
        for i, part in zip(bucket, values.split([parameters[i].numel() for i in bucket]), strict=True):
            result[i] = part.view(parameters[i].shape)
    if lacking:  # only then the device is asked: what is there here is there in the sum
        result = [g if there else None for g, there in zip(result, are_there.tolist(), strict=True)]
    return result


def _buckets(parameters: Sequence[torch.Tensor]) -> list[list[int]]:
    """The numbers of the parameters, those that are sent as one in one list: of one dtype, on one device."""
    buckets: list[list[int]] = []
    open_ones: dict[Any, tuple[list[int], int]] = {}
    for i, parameter in enumerate(parameters):
        key = parameter.dtype, parameter.device
        bucket, size = open_ones.get(key, ([], BUCKET_BYTES))
        if size + parameter.nbytes > BUCKET_BYTES:
            bucket, size = [], 0
            buckets.append(bucket)
        bucket.append(i)
        open_ones[key] = bucket, size + parameter.nbytes
    return buckets


def _flattened(
    gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor], bucket: list[int]
) -> torch.Tensor:
    parts = []
    for i in bucket:
        gradient = gradients[i]
        part = torch.zeros_like(parameters[i]) if gradient is None else gradient
        parts.append(part.detach().reshape(-1))
    return torch.cat(parts)
