"""Loads and stores at arrays of addresses. Triton's own loop takes 70 ns an element; many are left to numpy here.

>>> import numpy as np
>>> memory = np.arange(100, dtype=np.float32)
>>> addresses = np.uint64(memory.ctypes.data) + np.arange(0, 400, 4, dtype=np.uint64)
>>> read(addresses[::-1], np.arange(100) < 98, np.full(100, -1, np.float32))[95:]
array([ 4.,  3.,  2., -1., -1.], dtype=float32)
"""

from __future__ import annotations

import ctypes

import numpy as np
from triton._C.libtriton import interpreter as _native

_MANY = 128  # from where numpy is the faster one


def read(addresses: np.ndarray, mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The elements at `addresses`, of the type of `other`, which stands where the mask is false."""
    window = _window(addresses, mask, other.dtype)
    if window is None:
        return _native.load(addresses, mask, other, other.dtype)
    memory, lanes, places = window
    if lanes is None:
        return memory[places].reshape(addresses.shape)
    values = np.array(np.broadcast_to(other, addresses.shape))
    values[lanes] = memory[places]
    return values


def write(addresses: np.ndarray, mask: np.ndarray, values: np.ndarray) -> None:
    """Sets the elements at `addresses` where the mask is true; of several at one address the last one stays."""
    window = _window(addresses, mask, values.dtype)
    if window is None:
        _native.store(addresses, values, mask)
        return
    memory, lanes, places = window
    memory[places] = values.ravel() if lanes is None else np.broadcast_to(values, lanes.shape)[lanes]


def _window(
    addresses: np.ndarray, mask: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray] | None:
    """The memory that the addresses span, which lanes are in use (None: all), and their indices in that memory.

    None where there are few lanes, or the addresses are not whole elements apart.
    """
    if addresses.size < _MANY:
        return None
    lanes = None if mask.all() else np.broadcast_to(mask, addresses.shape)
    used = addresses.ravel() if lanes is None else addresses[lanes]
    if used.size < _MANY:
        return None
    first = used.min()
    offsets = used - first
    size = dtype.itemsize
    if size > 1:
        if (offsets & np.uint64(size - 1)).any():
            return None
        offsets >>= np.uint64(size.bit_length() - 1)
    extent = (int(offsets.max()) + 1) * size
    memory = np.frombuffer(memoryview((ctypes.c_char * extent).from_address(int(first))), dtype)
    return memory, lanes, offsets.astype(np.int64)
