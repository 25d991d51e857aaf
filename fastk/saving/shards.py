"""Weights in several files: shards, and a map that says which holds what."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import numpy as np

from fastk.atomic import replacing
from fastk.errors import FileFormatError, FileMissing
from fastk.saving.archive import MAX_CONFIG, parsed
from fastk.saving.h5 import H5Reader, H5Writer, VariableReader, VariableWriter, vars_path
from fastk.user_warning import warn_user


class ShardedWriter:
    """Variables into several files of limited size, `NAME_00000.weights.h5`, ..., and a map `NAME.weights.json`.

    All files take their places when the block ends without an error, the map last. Where there is a map already, the
    new files get numbers of which there are none, so that at any moment the map in place leads to the files of one
    save; those of the old map are removed in the end.

    Args:
        path: the map's path.
        max_size: the most bytes of values that one file may hold.
    """

    def __init__(self, path: str, max_size: float):
        self._base = path.removesuffix(".weights.json")
        self._max_size, self._size, self._total = max_size, 0, 0
        self._replaced = shards_of(path) if os.path.exists(path) else None
        self._files = contextlib.ExitStack()
        self._map = self._files.enter_context(replacing(path))
        self._shards: list[H5Writer] = []
        self._number = -1
        self._where: dict[str, list[str]] = {}

    def __enter__(self) -> ShardedWriter:
        return self

    def __exit__(self, *exception: Any) -> Any:
        text = json.dumps({"metadata": {"total_size": self._total}, "weight_map": self._where}, indent=4)
        self._map.write(text.encode())
        result = self._files.__exit__(*exception)
        if exception[0] is None and self._replaced is not None:
            self._remove_replaced()
        return result

    def group(self, path: str, name: str | None) -> VariableWriter:
        """What the object at `path`, called `name`, puts its variables into."""
        return VariableWriter(self, path)

    def put(self, path: str, key: str, array: np.ndarray) -> Any:
        """Writes one variable into the last file, or a new one where it would grow too large; returns its dataset."""
        if array.nbytes > self._max_size:
            raise ValueError(
                f"The variable '{key}' of '{path}' takes {array.nbytes} bytes, which exceeds the maximum shard size of "
                f"{self._max_size:.0f} bytes. Pass a larger `max_shard_size` (in GB)."
            )
        if not self._shards or self._size + array.nbytes > self._max_size:
            self._begin_shard()
        self._size += array.nbytes
        self._total += array.nbytes
        names = self._where.setdefault(f"/{vars_path(path)}", [])
        name = os.path.basename(self._shard_path(self._number))
        if name not in names:
            names.append(name)
        return self._shards[-1].put(path, key, array)

    def _begin_shard(self) -> None:
        self._number += 1
        while self._replaced is not None and os.path.exists(self._shard_path(self._number)):
            self._number += 1
        file = self._files.enter_context(replacing(self._shard_path(self._number)))
        self._shards.append(self._files.enter_context(H5Writer(file)))
        self._size = 0

    def _shard_path(self, index: int) -> str:
        return f"{self._base}_{index:05}.weights.h5"

    def _remove_replaced(self) -> None:
        for name in self._replaced or ():
            path = os.path.join(os.path.dirname(self._base), name)
            # No other file, whatever the map that was replaced said.
            number = path.removeprefix(f"{self._base}_").removesuffix(".weights.h5")
            if number.isdigit() and path == self._shard_path(int(number)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        first = self._shard_path(0)
        if not os.path.exists(first):  # Keras opens it, whatever the map says
            with replacing(first) as file, H5Writer(file):
                pass


class ShardedReader:
    """Variables from the files that a map, `NAME.weights.json`, lists.

    Args:
        path: the map's path.

    Raises:
        FileFormatError: where the map is malformed or names files that are not beside it.
    """

    def __init__(self, path: str):
        self._folder = os.path.dirname(path)
        self._files = contextlib.ExitStack()
        self._shards: dict[str, H5Reader] = {}
        self._where = _read_map(path)

    def __enter__(self) -> ShardedReader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._files.close()

    def group(self, path: str, largest: int = 0) -> VariableReader:
        """The variables of the object at `path`; see `H5Reader.group`."""
        names = self._where.get(f"/{vars_path(path)}", [])
        return VariableReader([self._shard(name) for name in names], path, largest)

    def has(self, path: str) -> bool:
        """Whether any file has a group at `path`."""
        return any(key.startswith(f"/{path}/") for key in self._where)

    def _shard(self, name: str) -> H5Reader:
        if name not in self._shards:
            path = os.path.join(self._folder, name)
            if not os.path.isfile(path):
                raise FileMissing(f"{path}, a part of the sharded weights, does not exist: copy it beside its map.")
            self._shards[name] = self._files.enter_context(H5Reader(path, path))
        return self._shards[name]


def shards_of(path: str) -> set[str]:
    """The files that a map lists; none where it cannot be read."""
    try:
        return {name for names in _read_map(path).values() for name in names}
    except FileFormatError:
        return set()


def _read_map(path: str) -> dict[str, list[str]]:
    """The files of each group, by its path, as a map of sharded weights lists them."""
    try:
        with open(path, "rb") as file:
            where = parsed(file.read(MAX_CONFIG + 1), path)["weight_map"]
        found = {str(key): [names] if isinstance(names, str) else list(names) for key, names in where.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            f"{path} is no map of sharded weights ({type(error).__name__}: {error}). Expected JSON with a "
            "`weight_map`, as `model.save_weights(path, max_shard_size=...)` writes it."
        ) from error
    for name in (name for names in found.values() for name in names):
        if not isinstance(name, str) or os.path.basename(name) != name or not name.endswith(".h5") or "\0" in name:
            raise FileFormatError(f"{path} names {name!r} as a file of weights. Expected `.h5` files beside it.")
    return found


def shard_map_path(path: str) -> str:
    """The path of the map of sharded weights; a `.weights.h5` path is changed, with a warning, as in Keras."""
    if path.endswith(".weights.h5"):
        renamed = f"{path.removesuffix('.h5')}.json"
        warn_user(f"Sharded weights are listed in a `.weights.json` file: {renamed} is used for {path}.")
        return renamed
    return path
