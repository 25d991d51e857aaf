"""Pickles of arrays, lists and numbers, read without running code: anything else in one is refused."""

from __future__ import annotations

import importlib
import pickle
import zipfile
from typing import Any, BinaryIO

import numpy as np

from fastk.errors import FileFormatError

# What pickles of arrays are made of, under the names of all versions of NumPy.
_ALLOWED = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise FileFormatError(
                f"The file holds a pickle that asks for {module}.{name}, and not for arrays alone: it may be an "
                "attack, and is not read. Remove it from the cache, and download it again."
            )
        module = module.replace("numpy.core", "numpy._core")
        return getattr(importlib.import_module(module), name)


def load_pickle(file: BinaryIO, encoding: str = "ASCII") -> Any:
    """What a pickle of arrays, lists, dicts, strings and numbers holds.

    Raises:
        FileFormatError: one that asks for anything else.

    >>> import io, pickle
    >>> load_pickle(io.BytesIO(pickle.dumps([1, {"a": 2}])))
    [1, {'a': 2}]
    """
    return _ArraysOnly(file, encoding=encoding).load()


def load_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, those of objects included."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else (np.lib.format.read_array_header_2_0)
                )
                shape, _, dtype = read_header(file)
                objects = load_pickle(file) if dtype.hasobject else None  # type: ignore[arg-type]
            if objects is None:
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
            else:
                array = np.asarray(objects, dtype=object).reshape(shape)
            arrays[member.removesuffix(".npy")] = array
    return arrays
