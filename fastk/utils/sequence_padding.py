"""`pad_sequences`: sequences of several lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SIDES = ("pre", "post")


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences as the rows of one array, filled up or cut to one length.

    Args:
        sequences: a list of sequences; their items may be arrays, all of one shape.
        maxlen: the length; None for that of the longest.
        dtype: the type of the result; `object` for strings of several lengths.
        padding: whether what is filled up comes before (`"pre"`) or after (`"post"`) a shorter sequence.
        truncating: whether what is cut off a longer one is its beginning (`"pre"`) or its end (`"post"`).
        value: what is filled up with.

    Returns:
        An array of shape `(len(sequences), maxlen, ...)`.

    Raises:
        ValueError: what is no sequence of sequences, items of several shapes, or a string into an array of numbers.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"`sequences` must be a list of sequences. Received: {type(sequences).__name__}.")
    for name, side in (("Padding", padding), ("Truncating", truncating)):
        if side not in _SIDES:
            raise ValueError(f'{name} type "{side}" not understood. Expected "pre" or "post".')
    for item in sequences:
        if not hasattr(item, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {item}")
    text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and dtype is not object and not text:
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set `dtype=object` for "
            "variable length strings."
        )
    if maxlen is None:
        maxlen = max(map(len, sequences))
    item_shape = next((np.asarray(item).shape[1:] for item in sequences if len(item)), ())
    padded = np.full((len(sequences), maxlen, *item_shape), value, dtype=dtype)
    for index, item in enumerate(sequences):
        if not len(item):
            continue
        cut = max(len(item) - maxlen, 0)
        kept = np.asarray(item[cut:] if truncating == "pre" else item[:maxlen], dtype=dtype)
        if kept.shape[1:] != item_shape:
            raise ValueError(
                f"Shape of sample {kept.shape[1:]} of sequence at position {index} is different from expected shape "
                f"{item_shape}"
            )
        start = maxlen - len(kept) if padding == "pre" else 0
        padded[index, start : start + len(kept)] = kept
    return padded
