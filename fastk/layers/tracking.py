"""Containers that tell their owner what is put into them, so that layers in lists and dicts are found."""

from __future__ import annotations

import copy
from typing import Any

import torch

from fastk import tree


def track_containers(value: Any, owner: Any) -> Any:
    """`value` with its lists, dicts and sets replaced by ones that have `owner` track each item, now and later.

    Torch modules become layers.
    """
    if isinstance(value, _Tracked):
        for item in value.values() if isinstance(value, dict) else value:  # type: ignore[attr-defined]
            owner._track(None, item)
        return value
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind(value, owner)
    if type(value) is tuple:
        return tuple(_entered(item, owner) for item in value)
    if isinstance(value, torch.nn.Module) and not hasattr(value, "_track"):
        return _layers_of_modules(value, owner)
    return value


def _layers_of_modules(module: torch.nn.Module, owner: Any) -> Any:
    """A torch module as a layer; those of a `ModuleList` or `ModuleDict`, which compute nothing, one by one."""
    if isinstance(module, torch.nn.ModuleList):
        return TrackedList(list(module), owner)
    if isinstance(module, torch.nn.ModuleDict):
        return TrackedDict(dict(module.items()), owner)
    from fastk.layers.core.torch_module_wrapper import TorchModuleWrapper

    return TorchModuleWrapper(module)


def _entered(item: Any, owner: Any) -> Any:
    item = track_containers(item, owner)
    owner._track(None, item)
    return item


class _Tracked:
    _owner: Any

    def _plain(self) -> Any:
        raise NotImplementedError

    def __deepcopy__(self, memo: dict) -> Any:
        # Copied with its owner, the copy belongs to the owner's copy; copied alone, to nobody.
        owner = memo.get(id(self._owner))
        items = copy.deepcopy(self._plain(), memo)
        return items if owner is None else _restored(type(self), items, owner)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (type(self), self._plain(), self._owner)


def _restored(kind: Any, items: Any, owner: Any) -> Any:
    """A container of items that its owner knows already."""
    made = kind.__new__(kind)
    made._owner = owner
    made._fill(items)
    return made


class TrackedList(_Tracked, list):
    """A list whose items are tracked by its owner."""

    def __init__(self, values: Any, owner: Any):
        self._owner = owner
        super().__init__(_entered(item, owner) for item in values)

    def _plain(self) -> list:
        return list(self)

    def _fill(self, items: list) -> None:
        super().extend(items)

    def append(self, value: Any) -> None:
        """As `list.append`."""
        super().append(_entered(value, self._owner))

    def insert(self, index: Any, value: Any) -> None:
        """As `list.insert`."""
        super().insert(index, _entered(value, self._owner))

    def extend(self, values: Any) -> None:
        """As `list.extend`."""
        super().extend([_entered(item, self._owner) for item in values])

    def __iadd__(self, values: Any) -> Any:
        self.extend(values)
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, [_entered(item, self._owner) for item in value])
        else:
            super().__setitem__(index, _entered(value, self._owner))


class TrackedDict(_Tracked, dict):
    """A dict whose values are tracked by its owner."""

    def __init__(self, values: Any, owner: Any):
        self._owner = owner
        super().__init__({key: _entered(item, owner) for key, item in values.items()})

    def _plain(self) -> dict:
        return dict(self)

    def _fill(self, items: dict) -> None:
        super().update(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, _entered(value, self._owner))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As `dict.update`."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """As `dict.setdefault`."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self


class TrackedSet(_Tracked, set):
    """A set whose items are tracked by its owner."""

    def __init__(self, values: Any, owner: Any):
        self._owner = owner
        super().__init__(_entered(item, owner) for item in values)

    def _plain(self) -> set:
        return set(self)

    def _fill(self, items: set) -> None:
        super().update(items)

    def add(self, value: Any) -> None:
        """As `set.add`."""
        super().add(_entered(value, self._owner))

    def update(self, *others: Any) -> None:
        """As `set.update`."""
        for values in others:
            for value in values:
                self.add(value)


_KINDS = {list: TrackedList, dict: TrackedDict, set: TrackedSet}
tree.register_list(TrackedList)
tree.register_dict(TrackedDict)
