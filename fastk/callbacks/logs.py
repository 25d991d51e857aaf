"""`LazyLogs`: the logs of a batch, read from the device only where a callback looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Stands in unread logs: code in C that looks at the size of a dict alone (`json` does) must not find it empty.
_UNREAD = "unread"


class LazyLogs(dict):
    """A dict that is filled by a function when it is first looked at.

    Args:
        compute: returns the contents.

    >>> logs = LazyLogs(lambda: print("read") or {"loss": 0.5})
    >>> logs["loss"], logs.get("accuracy")
    read
    (0.5, None)
    """

    def __init__(self, compute: Callable[[], dict[str, Any]]):
        super().__init__({_UNREAD: None})
        self._compute: Callable[[], dict[str, Any]] | None = compute

    def read(self) -> LazyLogs:
        """The logs, filled."""
        if self._compute is not None:
            compute, self._compute = self._compute, None
            self.clear()
            self.update(compute())
        return self

    def __bool__(self) -> bool:
        return True  # `logs = logs or {}` is how callbacks begin: it is not looking

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self.read()),)


def _reading(method: Callable) -> Callable:
    def call(self: LazyLogs, *args: Any, **kwargs: Any) -> Any:
        return method(self.read(), *args, **kwargs)

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


for _name in (
    "__contains__", "__delitem__", "__eq__", "__getitem__", "__ior__", "__iter__", "__len__", "__ne__", "__or__",
    "__repr__", "__reversed__", "__ror__", "__setitem__", "copy", "get", "items", "keys", "pop", "popitem",
    "setdefault", "update", "values",
):  # fmt: skip
    setattr(LazyLogs, _name, _reading(getattr(dict, _name)))
