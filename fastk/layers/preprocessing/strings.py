"""Strings in layers: NumPy arrays of Python's `str`, since torch has no tensors of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from fastk.tensor import convert_to_numpy

_RAGGED = (
    "Strings of ragged shape are not supported here: the lists of one level have different lengths. Pad them with '', "
    "or pass one string a sample."
)


def is_text(x: Any) -> bool:
    """Whether `x` is a string, or an array or nested lists of strings."""
    if isinstance(x, (str, bytes)):
        return True
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and is_text(x[0])
    dtype = getattr(x, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return type(x).__module__.startswith("tensorflow") and getattr(dtype, "name", "") == "string"
    if dtype.kind == "O":
        flat = np.asarray(x, dtype=object).ravel()
        return len(flat) > 0 and isinstance(flat[0], (str, bytes))
    return dtype.kind in "US"


def text_array(x: Any, encoding: str = "utf-8") -> np.ndarray:
    """`x` as an array of `str` objects.

    Args:
        x: a string or bytes, or an array or nested lists of them.
        encoding: that of bytes.

    Raises:
        TypeError: other values.
        ValueError: lists of unequal lengths.

    >>> from fastk.layers.preprocessing.strings import text_array
    >>> text_array([[b"a", "b"]])
    array([['a', 'b']], dtype=object)
    """
    if isinstance(x, torch.Tensor):
        if x.numel() == 0:
            return np.empty(tuple(x.shape), dtype=object)
        raise TypeError(
            f"Expected strings. Received a tensor of dtype {x.dtype}. Pass a NumPy array or lists of strings."
        )
    if isinstance(x, np.ndarray) and x.dtype.kind == "U":
        return x.astype(object)
    array = _object_array(x)
    flat = array.ravel()
    for i, value in enumerate(flat):
        if isinstance(value, bytes):
            flat[i] = value.decode(encoding)
        elif not isinstance(value, str):
            raise TypeError(f"Expected strings. Received: {value!r} (of type {type(value).__name__}).")
        elif type(value) is not str:  # NumPy's own
            flat[i] = str(value)
    return flat.reshape(array.shape)


def _object_array(x: Any) -> np.ndarray:
    """A new array of objects with the values of `x`."""
    if isinstance(x, (str, bytes)):
        array = np.empty((), dtype=object)
        array[()] = x
        return array
    if isinstance(x, (list, tuple)):
        if not x:
            return np.empty((0,), dtype=object)
        rows = [_object_array(item) for item in x]
        if any(row.shape != rows[0].shape for row in rows):
            raise ValueError(_RAGGED)
        return np.stack(rows)
    if type(x).__module__.startswith("tensorflow") and hasattr(x, "numpy"):
        x = x.numpy()
    return np.array(x, dtype=object)


def integer_array(x: Any) -> np.ndarray:
    """`x`, numbers on the host, as int64."""
    return np.asarray(convert_to_numpy(x)).astype(np.int64)


def as_bytes(values: Iterable[Any], encoding: str = "utf-8") -> list[bytes]:
    """Strings as bytes, integers by their decimal digits: what TensorFlow hashes."""
    return [v.encode(encoding) if isinstance(v, str) else v if isinstance(v, bytes) else b"%d" % v for v in values]
