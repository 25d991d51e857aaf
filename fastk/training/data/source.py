"""What every source of batches shares: the pass over the data, its epochs, and what happens when it runs out.

A pass goes once over the data. An epoch is one pass, unless it has a number of steps of its own: then the next epoch
goes on where this one left the pass, and the epoch in which the pass ends is short, with a warning.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import torch

from fastk.user_warning import warn_user

Batch = tuple[Any, Any, Any]


def positive_int(value: Any, name: str) -> int | None:
    """`value` as an int of at least 1, or None where it is None."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` must be a positive integer or None. Received: {value!r}.")
    return number


def drawn_by(generator: torch.Generator | None) -> dict[str, Any]:
    """Arguments of torch's random functions by which `generator` draws, on its device."""
    return {} if generator is None else {"generator": generator, "device": generator.device}


class DataSource(ABC):
    """Batches `(x, y, sample_weight)` of tensors on the device, epoch by epoch.

    The training loop is `for x, y, sample_weight in source.epoch(): ...`, once an epoch. A subclass defines `one_pass`,
    and may be given to `fit` in place of `x`.

    Args:
        steps: batches in an epoch; None for one whole pass.

    >>> import torch
    >>> class Ones(DataSource):
    ...     num_batches = 4
    ...     def one_pass(self):
    ...         return ((torch.ones(2), None, None) for _ in range(4))
    >>> source = Ones(steps=2)
    >>> [len(list(source.epoch())) for _ in range(2)], source.steps_per_epoch
    ([2, 2], 2)
    """

    num_batches: int | None = None
    """Batches in one pass; None where it is not known, or endless."""
    batch_size: int | None = None
    """Samples in a batch; None where it is not known ahead."""
    partial_batch_size: int | None = None
    """Samples in the last batch of a pass, where fewer than `batch_size`; None where they are not, or not known."""
    exhausted: bool = False
    """Whether the data is used up for good, as a Python generator is: no later epoch can have a batch."""

    def __init__(self, steps: int | None = None):
        self.steps = positive_int(steps, "steps")
        self._pass: Iterator[Batch] | None = None
        self._has_yielded = False

    @abstractmethod
    def one_pass(self) -> Iterator[Batch]:
        """The batches of a new pass over the data."""

    def on_epoch_begin(self) -> None:  # noqa: B027 - a hook, empty unless a source has one
        """Called before the first batch of an epoch."""

    def on_epoch_end(self) -> None:  # noqa: B027
        """Called after the last batch of an epoch; not where the loop leaves the epoch early."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches in an epoch, as far as they are known."""
        return self.steps or self.num_batches

    def peek(self) -> Batch:
        """The batch that the next epoch starts with, which stays the next one."""
        batches = self._pass or self.one_pass()
        first = next(batches, None)
        if first is None:
            raise ValueError(self._empty_message())
        self._pass = chain((first,), batches)
        return first

    def skip_orders(self, epochs: int) -> None:  # noqa: B027
        """Draws the orders of so many epochs without their batches, so that the next epoch has the order it would have
        had.

        A source that draws none has nothing to do: its next epoch starts where it starts.
        """

    def epoch(self) -> Iterator[Batch]:
        """The batches of the next epoch. Warns and ends early where the data runs out.

        Raises:
            ValueError: where the data has never had a batch.
        """
        self.on_epoch_begin()
        batches, first = self._start_epoch()
        if first is not None:
            self._has_yielded = True
            yield first
            if self.steps is None:
                yield from batches
            else:
                seen = 1
                for batch in islice(batches, self.steps - 1):
                    yield batch
                    seen += 1
                if seen < self.steps:
                    self._pass = None
                    self._warn_ran_out(seen)
        elif self._has_yielded:
            self._warn_ran_out(0)
        else:
            raise ValueError(self._empty_message())
        self.on_epoch_end()

    def close(self) -> None:
        """Leaves a pass that is under way; its workers are shut down."""
        self._pass = None

    def _start_epoch(self) -> tuple[Iterator[Batch], Batch | None]:
        batches, resumed = self._pass or self.one_pass(), self._pass is not None
        self._pass = None
        first = next(batches, None)
        if first is None and resumed:
            batches = self.one_pass()
            first = next(batches, None)
        if self.steps is not None and first is not None:
            self._pass = batches
        return batches, first

    def _empty_message(self) -> str:
        return f"{type(self).__name__} has no data: its first pass yielded no batch."

    def _warn_ran_out(self, seen: int) -> None:
        wanted = "at least 1 batch" if self.steps is None else f"{self.steps} batches"
        warn_user(
            f"Your input ran out of data; interrupting the epoch after {seen} of {wanted}. Give at least "
            "`steps_per_epoch * epochs` batches, or data that starts anew each epoch and no `steps_per_epoch`."
        )
