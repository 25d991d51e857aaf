"""Containers that tell their owner what is put into them, so that layers in lists and dicts are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastk import tree


def track_containers(value: Any, on_add: Callable[[Any], None]) -> Any:
    """`value` with its lists, dicts and sets replaced by ones that call `on_add` for each item, now and later."""
    if isinstance(value, _Tracked):
        for item in value.values() if isinstance(value, dict) else value:
            on_add(item)
        return value
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind(value, on_add)
    if type(value) is tuple:
        return tuple(_entered(item, on_add) for item in value)
    return value


def _entered(item: Any, on_add: Callable[[Any], None]) -> Any:
    item = track_containers(item, on_add)
    on_add(item)
    return item


class _Tracked:
    _on_add: Callable[[Any], None]

    def __deepcopy__(self, memo: dict) -> Any:
        # The copy belongs to no owner until it is set as an attribute.
        import copy

        return copy.deepcopy(self._plain(), memo)  # type: ignore[attr-defined]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._plain().__reduce_ex__(protocol)  # type: ignore[attr-defined]


class TrackedList(_Tracked, list):
    """A list whose items are tracked by its owner."""

    def __init__(self, values: Any, on_add: Callable[[Any], None]):
        self._on_add = on_add
        super().__init__(_entered(item, on_add) for item in values)

    def _plain(self) -> list:
        return list(self)

    def append(self, value: Any) -> None:
        super().append(_entered(value, self._on_add))

    def insert(self, index: Any, value: Any) -> None:
        super().insert(index, _entered(value, self._on_add))

    def extend(self, values: Any) -> None:
        super().extend([_entered(item, self._on_add) for item in values])

    def __iadd__(self, values: Any) -> Any:
        self.extend(values)
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, [_entered(item, self._on_add) for item in value])
        else:
            super().__setitem__(index, _entered(value, self._on_add))


class TrackedDict(_Tracked, dict):
    """A dict whose values are tracked by its owner."""

    def __init__(self, values: Any, on_add: Callable[[Any], None]):
        self._on_add = on_add
        super().__init__({key: _entered(item, on_add) for key, item in values.items()})

    def _plain(self) -> dict:
        return dict(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, _entered(value, self._on_add))

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]


class TrackedSet(_Tracked, set):
    """A set whose items are tracked by its owner."""

    def __init__(self, values: Any, on_add: Callable[[Any], None]):
        self._on_add = on_add
        super().__init__(_entered(item, on_add) for item in values)

    def _plain(self) -> set:
        return set(self)

    def add(self, value: Any) -> None:
        super().add(_entered(value, self._on_add))

    def update(self, *others: Any) -> None:
        for values in others:
            for value in values:
                self.add(value)


_KINDS = {list: TrackedList, dict: TrackedDict, set: TrackedSet}
tree.register_list(TrackedList)
tree.register_dict(TrackedDict)
