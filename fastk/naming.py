"""Names: unique ones for what has none, and the path of scopes that a variable is made under.

>>> from fastk import naming
>>> naming.to_snake_case("BatchNormalization"), naming.to_snake_case("Conv2D"), naming.to_snake_case("PReLU")
('batch_normalization', 'conv2d', 'p_re_lu')
"""

from __future__ import annotations

import collections
import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Any


class _State(threading.local):
    def __init__(self):
        self.counts: collections.Counter[str] = collections.Counter()
        self.scopes: list[name_scope] = []


_state = _State()


def to_snake_case(name: str) -> str:
    """`CamelCase` to `snake_case`, as Keras names layers and folders of files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(prefix: str) -> str:
    """The next free name of a class: `dense`, then `dense_1`, ..."""
    return uniquify(to_snake_case(prefix))


def uniquify(name: str) -> str:
    """`name` at its first use since the session began, else `name_1`, `name_2`, ..."""
    count = _state.counts[name]
    _state.counts[name] += 1
    return f"{name}_{count}" if count else name


def get_uid(prefix: str = "") -> int:
    """Counts the uses of `prefix`: 1, 2, ..."""
    _state.counts[prefix] += 1
    return _state.counts[prefix]


@contextlib.contextmanager
def passing_names() -> Iterator[None]:
    """Names taken inside are free again after the block."""
    before = _state.counts.copy()
    try:
        yield
    finally:
        _state.counts = before


def reset_names() -> None:
    """Starts the numbering anew."""
    _state.counts.clear()


class name_scope:  # noqa: N801 - Keras's name
    """Variables made inside have `name` in their path.

    Args:
        name: one path element, without "/".
        caller: the object that opens the scope; opening it again directly inside its own changes nothing.
        deduplicate: whether the caller's scope directly inside itself is skipped.
        override_parent: path that replaces the enclosing scopes'.

    >>> import fastk
    >>> with fastk.name_scope("encoder"):
    ...     fastk.Variable(0.0, name="scale").path
    'encoder/scale'
    """

    def __init__(self, name: str, caller: Any = None, deduplicate: bool = True, override_parent: str | None = None):
        if not isinstance(name, str) or "/" in name:
            raise ValueError(f"`name` must be a string without '/'. Received: name={name!r}")
        self.name, self.caller, self.deduplicate, self.override_parent = name, caller, deduplicate, override_parent
        self._pushed = False

    def __enter__(self):
        scopes = _state.scopes
        repeated = self.deduplicate and self.caller is not None and scopes and scopes[-1].caller is self.caller
        self._pushed = not repeated
        if self._pushed:
            parent = current_path() if self.override_parent is None else self.override_parent
            self.path = f"{parent}/{self.name}" if parent else self.name
            scopes.append(self)
        return self

    def __exit__(self, *exception):
        if self._pushed:
            _state.scopes.pop()


def current_path() -> str:
    """The names of the open scopes, joined by '/'."""
    return _state.scopes[-1].path if _state.scopes else ""
