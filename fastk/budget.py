"""How much memory a file may ask for by what it describes: a layer of a billion units is one line of JSON.

`limited_to` sets a limit while a model is rebuilt from a file; what is about to allocate by numbers of a configuration,
first of all every variable, asks `take` before it does.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator

from fastk.errors import FileFormatError


class _Budget(threading.local):
    left: float = math.inf
    reason: str = ""


_budget = _Budget()


@contextlib.contextmanager
def limited_to(size: float, reason: str) -> Iterator[None]:
    """Inside, no more than `size` bytes are allocated by numbers of a configuration.

    Args:
        size: bytes, over all calls of `take`.
        reason: the sentence that the error ends with: why there is a limit, and how to lift it.
    """
    before = _budget.left, _budget.reason
    _budget.left, _budget.reason = size, reason
    try:
        yield
    finally:
        _budget.left, _budget.reason = before


def take(shape: Iterable[int], item_size: float, what: str) -> None:
    """Notes that memory is about to be allocated.

    Args:
        shape: sizes, whose product is the number of items.
        item_size: bytes an item.
        what: what it is for, for the error.

    Raises:
        FileFormatError: where it is more than what is left of the limit.

    >>> with limited_to(1000, "The file stores 10 bytes."):
    ...     take((10, 10), 4, "a kernel")
    ...     take((100, 100), 4, "another kernel")
    Traceback (most recent call last):
    fastk.errors.FileFormatError: another kernel would take 40000 bytes, and 600 are left. The file stores 10 bytes.
    """
    if _budget.left == math.inf:
        return
    size = max(math.prod(shape) * item_size, 0)
    if not size <= _budget.left:  # nor where it is no number
        raise FileFormatError(f"{what} would take {size:.0f} bytes, and {_budget.left:.0f} are left. {_budget.reason}")
    _budget.left -= size
