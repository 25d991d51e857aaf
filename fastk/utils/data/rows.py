"""`Rows`: a dataset whose elements have numbers, which are shuffled, cut and batched in place of the elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastk.utils.data import elements
from fastk.utils.data.dataset import Dataset, _buffer, _Draws, _shuffled


class Rows(Dataset):
    """Elements that are found by their number.

    Args:
        order: the numbers of the elements of a new pass, int64.
        size: how many there are.
        one: the element of a number.
        several: the elements of several numbers as one, with a first axis.
    """

    def __init__(
        self,
        order: Callable[[], np.ndarray],
        size: int,
        one: Callable[[int], Any],
        several: Callable[[np.ndarray], Any],
    ):
        super().__init__(self._one_by_one, size)
        self._order, self._one, self._several = order, one, several

    @classmethod
    def of_columns(cls, columns: Any) -> Rows:
        """The rows of arrays: tensors, or arrays of strings."""
        size = elements.rows_of(columns)
        return cls(
            lambda: np.arange(size),
            size,
            lambda index: elements.map_leaves(lambda column: elements.row(column, index), columns),
            lambda indices: elements.map_leaves(lambda column: elements.gather(column, indices), columns),
        )

    def _one_by_one(self) -> Iterator[Any]:
        return map(self._one, self._order().tolist())

    def _ordered(self, order: Callable[[], np.ndarray], size: int) -> Rows:
        return Rows(order, size, self._one, self._several)

    def take(self, count: int, name: str | None = None) -> Dataset:
        """As in `Dataset`."""
        size = self._cardinality if count < 0 else min(count, self._cardinality)
        return self._ordered(lambda: self._order()[:size], size)

    def skip(self, count: int, name: str | None = None) -> Dataset:
        """As in `Dataset`."""
        skipped = self._cardinality if count < 0 else min(count, self._cardinality)
        return self._ordered(lambda: self._order()[skipped:], self._cardinality - skipped)

    def shuffle(
        self,
        buffer_size: int,
        seed: int | None = None,
        reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """As in `Dataset`."""
        draws, size, buffer = (
            _Draws(seed, reshuffle_each_iteration is not False),
            self._cardinality,
            _buffer(buffer_size),
        )

        def order() -> np.ndarray:
            before, generator = self._order(), draws.of_next_pass()
            if buffer >= size:
                return generator.permutation(before)
            return np.fromiter(_shuffled(iter(before), buffer, generator), dtype=np.int64, count=size)

        return self._ordered(order, size)

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """As in `Dataset`; the rows of a batch are gathered at once."""

        def groups() -> Iterator[np.ndarray]:
            order = self._order()
            ends = range(0, len(order) - (batch_size - 1 if drop_remainder else 0), batch_size)
            return (order[start : start + batch_size] for start in ends)

        return Dataset(groups, self._batches(batch_size, drop_remainder))._map_whole(self._several, num_parallel_calls)
