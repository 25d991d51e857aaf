"""The parts of batches that this process computes, where several train together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch

from fastk import tree
from fastk.distribution.ranks import Group
from fastk.training.data.arrays import ArraySource
from fastk.training.data.source import Batch, DataSource
from fastk.training.data.streams import DatasetSource, LoaderSource, PyDatasetSource
from fastk.user_warning import warn_user


class Part(NamedTuple):
    """What this process computes of a batch.

    batch: its samples.
    share: their share of the whole batch's. None: it is the whole batch, which all processes compute, as there are
        fewer samples than processes.
    """

    batch: Batch
    share: float | None


def rows_of(batch: Any) -> int:
    """The samples in a structure of arrays."""
    return next(len(part) for part in tree.flatten(batch) if part is not None)


def bounds(rows: int, group: Group) -> tuple[int, int]:
    """The first and the last but one of this process's among `rows` samples: parts that differ by one at most."""
    each, more = divmod(rows, group.size)
    start = group.rank * each + min(group.rank, more)
    return start, start + each + (group.rank < more)


def part_of(batch: Batch, group: Group) -> Part:
    """This process's part of a batch that all processes have.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> group = SimpleNamespace(rank=1, size=2)
    >>> part_of((torch.arange(3), None, None), group)
    Part(batch=(tensor([2]), None, None), share=0.3333333333333333)
    >>> part_of((torch.arange(1), None, None), group).share is None
    True
    """
    rows = rows_of(batch)
    if rows < group.size:
        return Part(batch, None)
    start, stop = bounds(rows, group)
    cut = tree.map_structure(lambda leaf: None if leaf is None else leaf[start:stop], batch)
    return Part(cut, (stop - start) / rows)


def own_parts(batches: Iterator[Batch], group: Group) -> Iterator[Part]:
    """Each process's own batches, with their shares of all."""
    while True:
        batch = next(batches, None)
        rows = [one for (one,) in group.gather_numbers(0 if batch is None else rows_of(batch))]
        if batch is None or min(rows) == 0:
            _warn_of_ends(rows)
            return
        yield Part(batch, rows[group.rank] / sum(rows))


def _warn_of_ends(rows: list[int]) -> None:
    if any(rows):
        warn_user(
            f"The data of processes {[i for i, n in enumerate(rows) if n == 0]} ended before that of the others: the "
            "pass ends here for all, and what the others had left is not used. Give each process as many batches."
        )


def _begun_alike(source: DataSource, group: Group) -> Iterator[Batch]:
    """The batches of a new pass, whose order all processes draw by the first one's random numbers.

    A `DataLoader` and a `Dataset` draw the seed of a pass by its first batch, with torch's generator or Python's.
    """
    own = torch.get_rng_state(), random.getstate(), np.random.get_state()
    _set_random_states(*group.gather_objects(own if group.is_first else None, "random states")[0])
    batches = source.one_pass()
    first = next(batches, None)
    if not group.is_first:
        _set_random_states(*own)
    return batches if first is None else chain((first,), batches)


def _set_random_states(of_torch: torch.Tensor, of_python: Any, of_numpy: Any) -> None:
    torch.set_rng_state(of_torch)
    random.setstate(of_python)
    np.random.set_state(of_numpy)


class PartSource(DataSource):
    """The parts of another source's batches.

    Args:
        source: the data: the same on all processes, or each one's own.
        group: the processes.
        cuts: whether each process takes its part of every batch; if not, its batches are its parts.
    """

    def __init__(self, source: DataSource, group: Group, cuts: bool):
        super().__init__(source.steps)
        self.source = source
        self.group = group
        self.cuts = cuts and not _has_own_sampler(source)
        self.batch_size, self.partial_batch_size = source.batch_size, source.partial_batch_size
        self._epochs = 0

    @property
    def num_batches(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Batches in one pass."""
        return self.source.num_batches

    @property
    def exhausted(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the data is used up for good."""
        return self.source.exhausted

    def on_epoch_begin(self) -> None:
        """The source's hook; a `DistributedSampler` is told the epoch, by which it draws its order."""
        if self._epochs and isinstance(self.source, LoaderSource) and _has_own_sampler(self.source):
            _sampler_of(self.source).set_epoch(self._epochs)
        self._epochs += 1
        self.source.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """The source's hook."""
        self.source.on_epoch_end()

    def peek(self) -> Batch:
        """This process's part of the batch that the next epoch starts with."""
        if isinstance(self.source, PyDatasetSource):  # apart from a pass, which begins after a hook of the user's
            batch = self.source.peek()
            return part_of(batch, self.group).batch if self.cuts else batch
        return super().peek().batch  # pyright: ignore[reportAttributeAccessIssue]

    def skip_orders(self, epochs: int) -> None:
        """As in `DataSource`."""
        self._epochs += epochs
        if not isinstance(self.source, ArraySource):
            self.source.skip_orders(epochs)
        elif self.source.shuffle and epochs and self.steps is not None:
            for _ in range(epochs):
                for _ in self.epoch():
                    pass
        elif self.source.shuffle and epochs:
            drawn = 1 if self._pass is not None else 0  # `peek` has begun the first pass
            self._pass = None
            self.source.skip_orders(epochs - drawn)

    def one_pass(self) -> Iterator[Any]:
        """The parts of a new pass's batches."""
        if not isinstance(self.source, ArraySource):
            return self._of_stream()
        if not self.cuts:
            return own_parts(self.source.one_pass(), self.group)
        if not self.source.shuffle:
            return (part_of(batch, self.group) for batch in self.source.one_pass())
        return self._of_shuffled(self.source)

    def close(self) -> None:
        """Leaves a pass that is under way."""
        super().close()
        self.source.close()

    def _of_shuffled(self, source: ArraySource) -> Iterator[Part]:
        """Only this process's samples are gathered; all processes draw the same order."""
        order = source.order()
        assert order is not None
        whole = len(order) - len(order) % source.rows
        for part, rows in ((order[:whole], source.rows), (order[whole:], len(order) - whole)):
            if len(part) == 0:
                continue
            if rows < self.group.size:
                yield from (Part(batch, None) for batch in source.batches_in(part, rows))
                continue
            start, stop = bounds(rows, self.group)
            own = part.view(-1, rows)[:, start:stop].reshape(-1)
            yield from (Part(batch, (stop - start) / rows) for batch in source.batches_in(own, stop - start))

    def _of_stream(self) -> Iterator[Part]:
        """What ends or grows on one process alone is found out at each batch: all of them end together."""
        if not self.cuts:
            yield from own_parts(self.source.one_pass(), self.group)
            return
        draws = isinstance(self.source, (LoaderSource, DatasetSource))
        batches = _begun_alike(self.source, self.group) if draws else self.source.one_pass()
        while True:
            batch = next(batches, None)
            rows = [one for (one,) in self.group.gather_numbers(0 if batch is None else rows_of(batch))]
            if batch is None or min(rows) == 0:
                _warn_of_ends(rows)
                return
            if len(set(rows)) > 1:
                raise ValueError(
                    f"The processes have batches of different sizes, {rows}, where each is to take its part of the "
                    "same batch. Make the data the same on all processes (seed what is random), or, where each has "
                    "data of its own, set `DataParallel(auto_shard_dataset=False)`."
                )
            yield part_of(batch, self.group)

    def _empty_message(self) -> str:
        return self.source._empty_message()


def _sampler_of(source: LoaderSource) -> Any:
    loader = source._loader
    inner = getattr(loader.batch_sampler, "sampler", None)
    return loader.sampler if inner is None else inner


def _has_own_sampler(source: DataSource) -> bool:
    """Whether the data is cut by torch's `DistributedSampler`: then a process's batches are its parts already."""
    if not isinstance(source, LoaderSource):
        return False
    from torch.utils.data.distributed import DistributedSampler

    return isinstance(_sampler_of(source), DistributedSampler)
