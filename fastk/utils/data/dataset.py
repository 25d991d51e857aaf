"""`Dataset`: elements that can be passed over again and again, and the datasets made of one by chained methods."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, islice, repeat
from typing import Any

import numpy as np
import torch

from fastk.utils.data import elements
from fastk.utils.parallel import ordered_map

AUTOTUNE = -1
"""`tf.data.AUTOTUNE`: as many threads as there are CPUs, or two elements ahead."""
INFINITE, UNKNOWN = -1, -2
"""Cardinalities that are no number, as in `tf.data`."""
_END = object()


class Dataset:
    """Elements, one after the other, in as many passes as are asked for.

    An element is a torch tensor, a string, or a tuple, list or dict of these; strings in a batch are an array of
    objects. `fit`, `evaluate`, `predict` and `adapt` take a dataset whose elements are batches. The methods make new
    datasets, are called like those of `tf.data.Dataset`, and compute nothing until a pass is made; functions given to
    them get tensors on the CPU.

    Args:
        passes: a function that starts a pass and returns its iterator.
        cardinality: the number of elements; `INFINITE` (-1) or `UNKNOWN` (-2).

    >>> numbers = Dataset.from_tensor_slices([1, 2, 3, 4, 5])
    >>> list(numbers.map(lambda x: x * x).batch(2))
    [tensor([1, 4], dtype=torch.int32), tensor([ 9, 16], dtype=torch.int32), tensor([25], dtype=torch.int32)]
    """

    class_names: list[str] | None
    file_paths: list[str]

    def __init__(self, passes: Callable[[], Iterator[Any]], cardinality: int = UNKNOWN):
        self._passes = passes
        self._cardinality = cardinality

    # ------------------------------------------------------------ where one begins

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """The rows of arrays in any structure of tuples and dicts; a list is an array."""
        from fastk.utils.data.rows import Rows

        return Rows.of_columns(elements.to_columns(tensors))

    @staticmethod
    def from_tensors(tensors: Any) -> Dataset:
        """One element: the whole."""
        element = elements.to_element(tensors)
        return Dataset(lambda: iter([element]), 1)

    @staticmethod
    def from_generator(generator: Callable[..., Iterable[Any]], args: tuple = ()) -> Dataset:
        """What `generator(*args)` yields, called anew for each pass."""
        if not callable(generator):
            raise TypeError(
                f"`generator` must be a function that returns an iterator, for each pass calls it. Received: "
                f"{generator!r}"
            )
        return Dataset(lambda: map(elements.to_element, generator(*args)))

    @staticmethod
    def range(*args: int) -> Dataset:
        """Numbers, as of Python's `range`, in int64."""
        numbers = range(*args)
        return Dataset(lambda: (torch.tensor(number) for number in numbers), len(numbers))

    @staticmethod
    def zip(*datasets: Any) -> Dataset:
        """Elements of several datasets side by side, until the first of them ends.

        Args:
            datasets: the datasets, or one tuple or dict of them.
        """
        structure = datasets[0] if len(datasets) == 1 else datasets
        parts = elements.leaves(structure)

        def join(values: tuple) -> Any:
            rest = iter(values)
            return elements.map_leaves(lambda _: next(rest), structure)

        known = [part._cardinality for part in parts]
        finite = [number for number in known if number != INFINITE]
        cardinality = INFINITE if not finite else UNKNOWN if UNKNOWN in finite else min(finite)
        return Dataset(lambda: map(join, zip(*parts, strict=False)), cardinality)

    # ------------------------------------------------------------ passes

    def __iter__(self) -> Any:
        return self._passes()

    def __len__(self) -> int:
        if self._cardinality < 0:
            what = "infinite" if self._cardinality == INFINITE else "unknown"
            raise TypeError(f"The length of the dataset is {what}. `cardinality()` says so without an error.")
        return self._cardinality

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        number = {INFINITE: "infinite", UNKNOWN: "unknown"}.get(self._cardinality, self._cardinality)
        return f"<{type(self).__name__} cardinality={number}>"

    def cardinality(self) -> torch.Tensor:
        """The number of elements, as a tensor; -1 for an infinite dataset, -2 where it is not known."""
        return torch.tensor(self._cardinality)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """A pass with arrays in place of tensors."""
        return map(elements.to_numpy, self)

    def get_single_element(self) -> Any:
        """The one element of a dataset that has no more."""
        found = list(islice(self, 2))
        if len(found) != 1:
            raise ValueError(f"Expected a dataset of one element. It has {'none' if not found else 'more'}.")
        return found[0]

    def reduce(self, initial_state: Any, reduce_func: Callable[[Any, Any], Any]) -> Any:
        """`reduce_func(state, element)` over a pass."""
        state = elements.to_element(initial_state)
        for element in self:
            state = reduce_func(state, element)
        return state

    # ------------------------------------------------------------ element by element

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """`map_func` of each element; of a tuple, its parts are the arguments.

        Args:
            map_func: the function; what it returns is an element.
            num_parallel_calls: threads that call it at a time, `AUTOTUNE` (-1) for as many as there are CPUs; None to
                call it where the pass is made. On several threads random numbers are drawn in no fixed order.
            deterministic: False permits results to come in another order, of which no use is made.
            name: a name for the step.
        """

        def call(element: Any) -> Any:
            return elements.to_element(_call(map_func, element))

        threads = _threads(num_parallel_calls)

        def passes() -> Iterator[Any]:
            if not threads:
                return map(call, self)
            return ordered_map(ThreadPoolExecutor(threads, name or "fastk_map"), call, self, ahead=2 * threads)

        return Dataset(passes, self._cardinality)

    def filter(self, predicate: Callable[..., Any], name: str | None = None) -> Dataset:
        """The elements for which `predicate` is true; of a tuple, its parts are the arguments."""
        return Dataset(lambda: (element for element in self if bool(_call(predicate, element))))

    def flat_map(self, map_func: Callable[..., Any], name: str | None = None) -> Dataset:
        """The elements of the datasets that `map_func` makes of the elements, one dataset after the other."""
        return Dataset(lambda: chain.from_iterable(_call(map_func, element) for element in self))

    def enumerate(self, start: int = 0, name: str | None = None) -> Dataset:
        """Pairs of a number, int64, and the element."""
        return Dataset(
            lambda: ((torch.tensor(number), element) for number, element in enumerate(self, start)), self._cardinality
        )

    # ------------------------------------------------------------ which elements

    def take(self, count: int, name: str | None = None) -> Dataset:
        """The first `count` elements; -1 for all."""
        if count < 0:
            return Dataset(self._passes, self._cardinality)
        cardinality = count if self._cardinality == INFINITE else min(count, self._cardinality)
        return Dataset(lambda: islice(self, count), cardinality)

    def skip(self, count: int, name: str | None = None) -> Dataset:
        """What follows the first `count` elements; nothing for -1."""
        if count < 0:
            return Dataset(lambda: iter(()), 0)
        cardinality = self._cardinality if self._cardinality < 0 else max(0, self._cardinality - count)
        return Dataset(lambda: islice(self, count, None), cardinality)

    def shard(self, num_shards: int, index: int, name: str | None = None) -> Dataset:
        """Every `num_shards`th element, from number `index` on."""
        if not 0 <= index < num_shards:
            raise ValueError(f"`index` must be from 0 to num_shards - 1. Received: {index}, num_shards={num_shards}.")
        known = self._cardinality
        return Dataset(
            lambda: islice(self, index, None, num_shards), known if known < 0 else len(range(index, known, num_shards))
        )

    def repeat(self, count: int | None = None, name: str | None = None) -> Dataset:
        """Pass after pass: `count` of them, or without end."""
        times = None if count is None or count < 0 else count
        known = self._cardinality
        finite = known * (times or 0) if known >= 0 else known
        cardinality = finite if times is not None else INFINITE if known else 0

        def passes() -> Iterator[Any]:
            for _ in repeat(None) if times is None else repeat(None, times):
                empty = True
                for element in self:
                    empty = False
                    yield element
                if empty:  # else an endless loop would yield nothing
                    return

        return Dataset(passes, cardinality)

    def concatenate(self, dataset: Dataset, name: str | None = None) -> Dataset:
        """The elements of this one, then those of another."""
        both = self._cardinality, dataset._cardinality
        cardinality = INFINITE if INFINITE in both else UNKNOWN if UNKNOWN in both else sum(both)
        return Dataset(lambda: chain(self, dataset), cardinality)

    def shuffle(
        self,
        buffer_size: int,
        seed: int | None = None,
        reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """The elements in a random order: each is drawn from a buffer of those that come next.

        Args:
            buffer_size: elements in the buffer; the order is wholly random where it holds all.
            seed: makes the orders reproducible; without one, `keras.utils.set_random_seed` does.
            reshuffle_each_iteration: whether each pass has an order of its own (the default).
            name: a name for the step.
        """
        draws, size = _Draws(seed, reshuffle_each_iteration is not False), _buffer(buffer_size)
        return Dataset(lambda: _shuffled(iter(self), size, draws.of_next_pass()), self._cardinality)

    # ------------------------------------------------------------ batches

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """Elements of one shape, `batch_size` at a time.

        Args:
            batch_size: elements in a batch.
            drop_remainder: whether a last, smaller batch is left out.
            num_parallel_calls: threads that put batches together; None for none.
            deterministic: as in `map`.
            name: a name for the step.
        """
        groups = Dataset(lambda: _groups(self, batch_size, drop_remainder), self._batches(batch_size, drop_remainder))
        return groups._map_whole(elements.stack, num_parallel_calls)

    def padded_batch(
        self,
        batch_size: int,
        padded_shapes: Any = None,
        padding_values: Any = None,
        drop_remainder: bool = False,
        name: str | None = None,
    ) -> Dataset:
        """Elements of several shapes, `batch_size` at a time, filled up to one shape.

        Args:
            batch_size: elements in a batch.
            padded_shapes: a structure like an element of shapes; None within one, or for all: the longest of a batch.
            padding_values: what is filled up with: a number, or a structure like an element; None for 0.
            drop_remainder: whether a last, smaller batch is left out.
            name: a name for the step.
        """
        groups = Dataset(lambda: _groups(self, batch_size, drop_remainder), self._batches(batch_size, drop_remainder))
        return groups._map_whole(lambda group: elements.pad_and_stack(group, padded_shapes, padding_values), None)

    def unbatch(self, name: str | None = None) -> Dataset:
        """The elements of batches, one by one."""

        def passes() -> Iterator[Any]:
            for batch in self:
                for index in range(elements.rows_of(batch)):
                    yield elements.map_leaves(lambda leaf, index=index: elements.row(leaf, index), batch)

        return Dataset(passes)

    def rebatch(self, batch_size: int, drop_remainder: bool = False, name: str | None = None) -> Dataset:
        """The elements of batches, `batch_size` at a time."""
        return self.unbatch().batch(batch_size, drop_remainder)

    def _map_whole(self, function: Callable[[Any], Any], num_parallel_calls: int | None) -> Dataset:
        threads = _threads(num_parallel_calls)
        if not threads:
            return Dataset(lambda: map(function, self), self._cardinality)
        return Dataset(
            lambda: ordered_map(ThreadPoolExecutor(threads, "fastk_batch"), function, self, ahead=2 * threads),
            self._cardinality,
        )

    def _batches(self, batch_size: int, drop_remainder: bool) -> int:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive integer. Received: {batch_size!r}.")
        known = self._cardinality
        return known if known < 0 else known // batch_size if drop_remainder else -(-known // batch_size)

    # ------------------------------------------------------------ how it is computed

    def prefetch(self, buffer_size: int, name: str | None = None) -> Dataset:
        """The same elements, made ahead of their use by a thread.

        Args:
            buffer_size: the most elements that wait; `AUTOTUNE` (-1) for two, 0 for none.
            name: a name for the step.
        """
        ahead = 2 if buffer_size == AUTOTUNE else buffer_size
        if ahead < 0:
            raise ValueError(f"`buffer_size` must be a number of elements, or AUTOTUNE (-1). Received: {buffer_size}.")

        def passes() -> Iterator[Any]:
            if not ahead:
                yield from self
                return
            elements_to_come = iter(self)
            worker = ThreadPoolExecutor(1, name or "fastk_prefetch")
            fetched = ordered_map(worker, lambda _: next(elements_to_come, _END), repeat(None), ahead)
            try:
                for element in fetched:
                    if element is _END:
                        return
                    yield element
            finally:
                fetched.close()  # type: ignore[attr-defined]

        return Dataset(passes, self._cardinality)

    def cache(self, filename: str = "", name: str | None = None) -> Dataset:
        """The same elements, kept in memory from the first whole pass on.

        Args:
            filename: not supported: elements are kept in memory alone.
            name: a name for the step.
        """
        if filename:
            raise ValueError(
                f"A cache in a file is not supported. Received: filename={filename!r}. Leave it out to keep the "
                "elements in memory."
            )
        kept: list[list[Any]] = []

        def passes() -> Iterator[Any]:
            if kept:
                yield from kept[0]
                return
            passed = []
            for element in self:
                passed.append(element)
                yield element
            kept[:] = [passed]

        return Dataset(passes, self._cardinality)

    def apply(self, transformation_func: Callable[[Dataset], Dataset]) -> Dataset:
        """`transformation_func` of the dataset."""
        return transformation_func(self)


def _call(function: Callable[..., Any], element: Any) -> Any:
    return function(*element) if isinstance(element, tuple) else function(element)


def _threads(num_parallel_calls: int | None) -> int:
    if num_parallel_calls is None:
        return 0
    if num_parallel_calls == AUTOTUNE:
        return os.cpu_count() or 1
    if num_parallel_calls < 1:
        raise ValueError(
            f"`num_parallel_calls` must be a number of threads, or AUTOTUNE (-1). Received: {num_parallel_calls}."
        )
    return num_parallel_calls


def _buffer(buffer_size: int) -> int:
    if buffer_size < 1:
        raise ValueError(f"`buffer_size` must be a positive number of elements. Received: {buffer_size}.")
    return int(buffer_size)


class _Draws:
    """The random generators of the passes: one seed, one sequence of them."""

    def __init__(self, seed: int | None, anew: bool):
        self._seed, self._anew = seed, anew
        self._pass = count()

    def of_next_pass(self) -> np.random.Generator:
        """The generator of a new pass."""
        if self._seed is None:
            seed = random.getrandbits(64)  # of the generator that `set_random_seed` seeds
            if not self._anew:
                self._seed = seed
            return np.random.default_rng(seed)
        return np.random.default_rng([self._seed, next(self._pass) if self._anew else 0])


def _shuffled(items: Iterator[Any], buffer_size: int, generator: np.random.Generator) -> Iterator[Any]:
    buffer = list(islice(items, buffer_size))
    for item in items:
        index = int(generator.integers(len(buffer)))
        drawn, buffer[index] = buffer[index], item
        yield drawn
    for index in generator.permutation(len(buffer)):
        yield buffer[index]


def _groups(items: Iterable[Any], size: int, drop_remainder: bool) -> Iterator[list[Any]]:
    items = iter(items)
    while group := list(islice(items, size)):
        if len(group) == size or not drop_remainder:
            yield group
