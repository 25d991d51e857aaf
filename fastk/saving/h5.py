"""Variables in HDF5 files: one group a path, in one file or in several shards.

The group of the object at path `P` is `P/vars` (the root's is `vars`); its datasets are the object's own variables.
bfloat16, which HDF5 has no type for, is stored as two opaque bytes with an attribute that says so.

A file may come from anywhere: links out of it, types that hold addresses, and datasets that claim more than they store
are refused before they are read.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, BinaryIO

import numpy as np
import torch

from fastk.errors import FileFormatError
from fastk.tensor import convert_to_numpy

FREE_ELEMENTS = 1 << 20
"""Datasets of more elements may only be stored compressed, or not at all, where a variable is as large."""
_READABLE_KINDS = "biufcSV"
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def vars_path(path: str) -> str:
    """The group that holds the variables of the object at `path`."""
    return f"{path}/vars" if path else "vars"


# ---------------------------------------------------------------- writing


class H5Writer:
    """Variables into one file.

    Args:
        file: a path, or a file open in binary mode for reading and writing.
    """

    def __init__(self, file: Any):
        import h5py

        self._h5 = h5py.File(file, "w")

    def __enter__(self) -> H5Writer:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._h5.close()

    def group(self, path: str, name: str | None) -> VariableWriter:
        """What the object at `path`, called `name`, puts its variables into."""
        if name is not None:
            self._h5.require_group(vars_path(path)).attrs["name"] = name
        return VariableWriter(self, path)

    def put(self, path: str, key: str, array: np.ndarray) -> Any:
        """Writes one variable; returns its dataset."""
        return _write(self._h5, path, key, array)


class VariableWriter(MutableMapping):
    """What `save_own_variables(store)` is given: values put into it are in the file at once."""

    def __init__(self, writer: Any, path: str):
        self._writer, self._path = writer, path
        self._datasets: dict[str, Any] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._datasets:
            del self[key]
        self._datasets[key] = self._writer.put(self._path, key, _array(value, f"{self._path}, '{key}'"))

    def __getitem__(self, key: str) -> np.ndarray:
        return _values(self._datasets[key])

    def __delitem__(self, key: str) -> None:
        del self._datasets[key].parent[key]
        del self._datasets[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


def _write(h5: Any, path: str, key: str, array: np.ndarray) -> Any:
    group = h5.require_group(vars_path(path))
    if array.dtype.name == "bfloat16":
        array = array.view("V2")
    dataset = group.create_dataset(key, data=array)
    if array.dtype.kind == "V":
        dataset.attrs["dtype"] = "bfloat16"
    return dataset


def _array(value: Any, what: str) -> np.ndarray:
    tensor = getattr(value, "value", value)
    if isinstance(tensor, torch.Tensor) and tensor.dtype is torch.bfloat16:
        # NumPy has no bfloat16 of its own.
        return tensor.detach().cpu().contiguous().view(torch.int16).numpy().view("V2")
    array = convert_to_numpy(value)
    if array.dtype.kind not in "biufcS" and array.dtype.name != "bfloat16":
        raise TypeError(
            f"A value of type {type(value).__name__} and dtype {array.dtype} cannot be stored ({what}). Expected "
            "numbers or bytes; text belongs into `save_assets`."
        )
    return array


# ---------------------------------------------------------------- reading


class H5Reader:
    """Variables from one file.

    Args:
        file: a path, or a file open in binary mode.
        source: its name, for error messages.

    Raises:
        FileFormatError: where it is not an HDF5 file.
    """

    def __init__(self, file: str | BinaryIO, source: str):
        import h5py

        self.source = source
        with self._damage_reported("open it"):
            self._h5 = h5py.File(file, "r")

    def __enter__(self) -> H5Reader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._h5.close()

    def group(self, path: str, largest: int = 0) -> VariableReader:
        """The variables of the object at `path`.

        Args:
            path: the object's path.
            largest: elements of its largest variable.
        """
        return VariableReader([self], path, largest)

    def has(self, path: str) -> bool:
        """Whether there is a group at `path`."""
        return self.find(path) is not None

    def find(self, path: str) -> Any:
        """The group at `path` (the root's is empty), or None; refuses what is no group of this file."""
        import h5py

        with self._damage_reported(f"find '{path}'"):
            found: Any = self._h5
            for part in path.split("/") if path else ():
                kind: Any = found.get(part, getclass=True, getlink=True)
                if kind is None:
                    return None
                if kind is not h5py.HardLink:
                    raise FileFormatError(
                        f"{self.source}: '{part}' on the way to '{path}' is a {kind.__name__}, which could lead "
                        "anywhere. Keras and fastk write none: the file was made otherwise, and is not read."
                    )
                found = found[part]
                if not isinstance(found, h5py.Group):
                    raise FileFormatError(
                        f"{self.source}: '{path}' should be a group, and is a {type(found).__name__}."
                    )
        return found

    def dataset(self, group: Any, key: str, largest: int) -> Any:
        """A dataset of `group` that is safe to read."""
        import h5py

        with self._damage_reported(f"find the variable '{key}'"):
            kind = group.get(key, getclass=True, getlink=True)
            if kind is not h5py.HardLink:
                found = "missing" if kind is None else f"a {kind.__name__}, which could lead anywhere"
                raise FileFormatError(f"{self.source}: the variable '{key}' of '{group.name}' is {found}.")
            dataset = group[key]
            if not isinstance(dataset, h5py.Dataset):
                raise FileFormatError(f"{self.source}: the variable '{key}' of '{group.name}' is no dataset.")
            where = f"{self.source}: the variable '{dataset.name}'"
            dtype = dataset.dtype
            if dataset.external or dataset.is_virtual:
                raise FileFormatError(f"{where} lies in another file, which may be any file. It is not read.")
            if dtype.kind not in _READABLE_KINDS or dtype.fields is not None or dtype.subdtype is not None:
                raise FileFormatError(f"{where} is of type {dtype}. Expected numbers.")
            elements, stored = math.prod(dataset.shape), dataset.id.get_storage_size()
            if elements * dtype.itemsize > stored and elements > max(largest, FREE_ELEMENTS):
                raise FileFormatError(
                    f"{where} claims a shape of {dataset.shape}, of which the file stores {stored} bytes, and no "
                    "variable is as large: it is damaged, or made to fill the memory (a shape bomb)."
                )
        return dataset

    def values(self, dataset: Any) -> np.ndarray:
        """The values of a dataset that `dataset` returned."""
        with self._damage_reported(f"read '{dataset.name}'"):
            return _values(dataset)

    @contextlib.contextmanager
    def _damage_reported(self, what: str) -> Iterator[None]:
        """Around calls of h5py alone: whatever they raise means that the file is damaged."""
        try:
            yield
        except (FileFormatError, RecursionError):  # the latter is of groups within groups, and not of one call
            raise
        except _DAMAGE as error:
            raise FileFormatError(
                f"{self.source} is not a readable HDF5 file: could not {what:.300} ({error}). If it was copied or "
                "downloaded, get it again."
            ) from error


class VariableReader(Mapping):
    """What `load_own_variables(store)` is given: arrays, read when they are asked for."""

    def __init__(self, readers: list[H5Reader], path: str, largest: int):
        self._largest = largest
        self._found: dict[str, tuple[H5Reader, Any]] = {}
        self._checked: dict[str, Any] = {}
        for reader in readers:
            group = reader.find(vars_path(path))
            if group is not None:
                with reader._damage_reported(f"list '{path}'"):
                    self._found |= {key: (reader, group) for key in group}

    def _dataset(self, key: str) -> tuple[H5Reader, Any]:
        reader, group = self._found[key]
        if key not in self._checked:
            self._checked[key] = reader.dataset(group, key, self._largest)
        return reader, self._checked[key]

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a variable, without reading it."""
        return self._dataset(key)[1].shape

    def __getitem__(self, key: str) -> np.ndarray:
        reader, dataset = self._dataset(key)
        return reader.values(dataset)

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _values(dataset: Any) -> np.ndarray:
    array = np.asarray(dataset[()])
    if array.dtype.kind != "V":
        return array
    if array.dtype.itemsize != 2 or dataset.attrs.get("dtype") != "bfloat16":
        raise FileFormatError(
            f"'{dataset.name}' holds {array.dtype.itemsize} bytes an element, of no type that is known."
        )
    # The upper half of a float32 with the same value.
    return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
