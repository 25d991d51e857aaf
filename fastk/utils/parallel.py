"""Work on other threads or processes, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import Any


def ordered_map(executor: Executor, function: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """`map(function, items)` on the executor's workers, with at most `ahead` results under way or waiting.

    An exception of a worker is raised where its result would have come. The executor is shut down at the end, after an
    exception, and when the iterator is dropped.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> list(ordered_map(ThreadPoolExecutor(2), str, range(5), ahead=3))
    ['0', '1', '2', '3', '4']
    """
    items = iter(items)
    try:
        pending = deque(executor.submit(function, item) for item in islice(items, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(executor.submit(function, item) for item in islice(items, 1))
            if not pending:
                executor.shutdown()  # before the last result: its consumer may never ask for another
            yield result
    finally:
        executor.shutdown(cancel_futures=True)
