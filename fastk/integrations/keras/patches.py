"""`patched()`: Keras's functions on torch, replaced by fastk's while a block runs.

One row a function: where it stands in Keras, and what makes its replacement from it. A replacement hands what it does
not take to the function that it replaces, and counts it, with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastk import scopes
from fastk.integrations.keras.replacements import REPLACEMENTS, Keep
from fastk.integrations.keras.support import keras_on_torch, settings_of


@dataclass(eq=False)
class Calls:
    """What was called inside `patched()`.

    Attributes:
        fastk: how often fastk computed, by the function's name.
        keras: how often Keras did, by the function's name and the reason.
    """

    fastk: Counter[str] = field(default_factory=Counter)
    keras: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{name}: by fastk, {count} calls" for name, count in sorted(self.fastk.items())]
        lines += [f"{name}: by Keras, {count} calls, since {why}" for (name, why), count in sorted(self.keras.items())]
        return "\n".join(lines) or "nothing that fastk replaces was called"


class _Active(threading.local):
    """Of each thread: the blocks that count its calls, and whether a replacement is running."""

    def __init__(self) -> None:
        self.calls: list[Calls] = []


_active = _Active()
_lock = threading.RLock()
_originals: list[tuple[Any, str, Any]] = []  # of all threads: what stood where
_depth = 0


@contextlib.contextmanager
def patched() -> Iterator[Calls]:
    """Inside, Keras's functions on torch are fastk's: any code that uses Keras, without a model to be accelerated.

    What is replaced are functions of Keras's modules, for the whole process: other threads have them, too, until the
    last block that is open in any thread ends, with an exception or not. Blocks may be nested. What they yield counts
    the calls of its own thread.

    Raises:
        ImportError: Keras is not installed.
        RuntimeError: it has a version that is not tested, or another backend than torch.

    ```python
    with fastk.integrations.keras.patched() as calls:
        y = model(x, training=True)
    print(calls)
    ```
    """
    keras = keras_on_torch()
    calls = Calls()
    _enter(keras)
    _active.calls.append(calls)
    try:
        yield calls
    finally:
        _active.calls.remove(calls)
        _leave()


def _enter(keras: Any) -> None:
    global _depth
    with _lock:
        _depth += 1
        if _depth > 1:
            return
        try:
            for place, name, replace in REPLACEMENTS:
                owner = _owner(place)
                original = vars(owner)[name]
                setattr(owner, name, _wrapped(keras, f"{place.rpartition('.')[2]}.{name}", original, replace))
                _originals.append((owner, name, original))
        except BaseException:
            _restore()
            _depth -= 1
            raise


def _leave() -> None:
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            _restore()


def _restore() -> None:
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)


def _owner(place: str) -> Any:
    """A module, or a class in one, by its full name."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name) if name[0].isupper() else importlib.import_module(place)


def _wrapped(keras: Any, shown: str, original: Callable[..., Any], replace: Callable[..., Any]) -> Callable[..., Any]:
    """`replace` in the place of `original`, which gets the calls that the former does not take."""

    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            with scopes.internal(), settings_of(keras):
                result = replace(*args, **kwargs)
        except Keep as reason:
            for calls in _active.calls:
                calls.keras[shown, str(reason)] += 1
            return original(*args, **kwargs)
        for calls in _active.calls:
            calls.fastk[shown] += 1
        return result

    return called
