"""What runs between two calls of the callbacks: one batch, several one after the other, or several as one replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from fastk import config
from fastk import device as devices
from fastk.training import parallel
from fastk.training.data.arrays import ArraySource
from fastk.training.data.parts import PartSource, rows_of
from fastk.training.step import CapturedStep, StepsTogether, cut

STEPS_TOGETHER = {"cuda": 16}
"""How many steps `steps_per_execution="auto"` makes one replay of, by the kind of device.

A replay is one launch: with 16, what the host does for it is spread over 16 steps. On the CPU a replay has no launch to
save."""


Call = tuple[Callable[..., Any], Any]
"""A step, and the batch that it is to be called with."""


def executions(
    model: Any, source: Any, callbacks: Any, mode: str, step: Callable[..., Any]
) -> Iterator[tuple[int, int, list[Call]]]:
    """`(first step, last step, calls)` for each call of the callbacks in one epoch.

    Args:
        model: what is trained or evaluated.
        source: its data.
        callbacks: a `CallbackList`.
        mode: "train" or "test".
        step: called with a batch.
    """
    if isinstance(source, PartSource):
        run = partial(parallel.run_part, model, source.group, step)
        for first, last, parts in grouped(source.epoch(), model.steps_per_execution):
            yield first, last, [(run, (part,)) for part in parts]
        return
    count = 1
    if isinstance(source, ArraySource) and isinstance(step, CapturedStep):
        count = _steps_together(model, source, callbacks.follows_batches(mode))
        if count > 1:
            yield from _together(model._steps, source, mode, step, count)
            return
    for first, last, batches in grouped(source.epoch(), model.steps_per_execution):
        yield first, last, [(step, batch) for batch in batches]


def _together(
    steps: dict[str, Any], source: ArraySource, mode: str, step: CapturedStep, count: int
) -> Iterator[tuple[int, int, list[Call]]]:
    size = source.rows
    key = f"{mode} of {count} times {size}"
    together = steps.get(key)
    if together is None:
        together = steps[key] = StepsTogether(step, size)
    source.join_batches(count)
    try:
        first = 0
        for batch in source.epoch():
            rows = rows_of(batch)
            calls: list[Call] = [(together, batch)]
            if rows < count * size:
                calls = [(step, part) for part in cut(batch, size)]
            taken = math.ceil(rows / size)
            yield first, first + taken - 1, calls
            first += taken
    finally:
        source.join_batches(1)


def _steps_together(model: Any, source: ArraySource, follows_batches: bool) -> int:
    """How many batches, which lie one after the other, are one replay."""
    device = devices.get_device().type
    if device not in STEPS_TOGETHER or not source.resident:
        return 1
    if source.steps is not None or config.max_steps_per_epoch() is not None:
        return 1
    count = model.steps_per_execution
    is_auto = count == 1 and (model._compile_arguments or {}).get("steps_per_execution") == "auto"
    if is_auto and not follows_batches:
        count = min(STEPS_TOGETHER[device], source.num_samples // source.rows)
    return max(count, 1)


def grouped(batches: Iterator, size: int) -> Iterator[tuple[int, int, Any]]:
    """`(first step, last step, batches)` for groups of `size` batches."""
    limit = config.max_steps_per_epoch()
    if limit is not None:
        batches = islice(batches, limit)
    if size == 1:
        for step, batch in enumerate(batches):
            yield step, step, (batch,)
        return
    step, group = 0, []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield step, step + size - 1, group
            step, group = step + size, []
    if group:
        yield step, step + len(group) - 1, group
