"""`PyDataset`: batches by index, written in Python, that `fit` may fetch with several workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from fastk.user_warning import warn_user

_DEFAULTS = {"_workers": 1, "_use_multiprocessing": False, "_max_queue_size": 10}


class PyDataset:
    """Base of datasets that give a whole batch by its number.

    A subclass defines `__getitem__(index)`, which returns `(x,)`, `(x, y)`, `(x, y, sample_weight)`, or a bare array or
    dict as `x`, and `__len__()`, the number of batches; or, in place of `__len__`, the property `num_batches`, None for
    an endless dataset. `fit`, `evaluate` and `predict` read the three settings below; plain iteration uses no workers.

    Args:
        workers: how many threads or processes fetch batches ahead. With 1 thread or 0 the training thread fetches.
        use_multiprocessing: processes instead of threads: for work that holds Python's lock. The dataset must be
            picklable where processes are not forked. Each process has the dataset as it was when the pass began, and
            each batch a seed of its own for `random` and `numpy.random`.
        max_queue_size: the most batches fetched ahead and not yet used.

    >>> import numpy as np
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         x = np.arange(2 * index, 2 * index + 2)
    ...         return x, x**2
    >>> [y.tolist() for _, y in Squares()]
    [[0, 1], [4, 9], [16, 25]]
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self._workers = workers
        self._use_multiprocessing = use_multiprocessing
        self._max_queue_size = max_queue_size

    def _setting(self, name: str) -> Any:
        if name not in self.__dict__:
            warn_user(
                f"{type(self).__name__}.__init__ should call `super().__init__(**kwargs)`, which takes `workers`, "
                "`use_multiprocessing` and `max_queue_size`; without it they are at their defaults."
            )
            self.__dict__.update({**_DEFAULTS, **self.__dict__})
        return self.__dict__[name]

    @property
    def workers(self) -> int:
        """How many threads or processes fetch batches ahead."""
        return self._setting("_workers")

    @workers.setter
    def workers(self, value: int) -> None:
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        """Whether the workers are processes."""
        return self._setting("_use_multiprocessing")

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value

    @property
    def max_queue_size(self) -> int:
        """The most batches fetched ahead."""
        return self._setting("_max_queue_size")

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._max_queue_size = value

    def __getitem__(self, index: int) -> Any:
        """The batch number `index`."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `__getitem__(self, index)`, the batch by its number."
        )

    def __iter__(self) -> Iterator[Any]:
        try:
            count = self.num_batches
        except NotImplementedError:
            count = None
        for index in itertools.count() if count is None else range(count):
            yield self[index]

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None for an endless dataset."""
        length = getattr(self, "__len__", None)
        if length is None:
            raise NotImplementedError(
                f"{type(self).__name__} must define `__len__(self)`, the number of batches, "
                "or the property `num_batches` (None for an endless dataset)."
            )
        return length()

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each whole epoch: the place to reorder the data."""
