"""`split_dataset`: one dataset as two."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk.utils.data import elements
from fastk.utils.data.dataset import Dataset
from fastk.utils.data.rows import Rows

_BACKENDS = (None, "torch", "tensorflow", "jax", "numpy")


class _Part(Rows, torch.utils.data.Dataset):
    """Some rows of arrays, in one order: for the loops of fastk, and for a `DataLoader`."""

    def __init__(self, columns: Any, numbers: np.ndarray):
        rows = Rows.of_columns(columns)
        super().__init__(lambda: numbers, len(numbers), rows._one, rows._several)
        self._numbers = numbers

    def __getitem__(self, index: int) -> Any:
        return self._one(int(self._numbers[index]))


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Any, Any]:
    """The first samples of a dataset and the last ones, as two datasets.

    Args:
        dataset: an array, a list or tuple of arrays of one length, a torch `Dataset`, a `tf.data.Dataset`, or what the
            functions `..._dataset_from_directory` return, which is split by its elements. The last two are read whole.
        left_size: samples of the first part: a number, or a share between 0 and 1; None for what the other leaves.
        right_size: the same of the second part.
        shuffle: whether the samples are shuffled first.
        seed: makes their order reproducible.
        preferred_backend: Keras's choice of the library of the results, which makes no difference here.

    Returns:
        Two datasets of single samples: a torch dataset gives two `torch.utils.data.Subset`.

    Raises:
        TypeError: another kind of dataset, or of size.
        ValueError: no size, or one that leaves a part empty.

    >>> import numpy as np
    >>> left, right = split_dataset(np.arange(10), left_size=0.8)
    >>> len(left), [int(value) for (value,) in right]
    (8, [8, 9])
    """
    if preferred_backend not in _BACKENDS:
        raise ValueError(f"`preferred_backend` must be one of {_BACKENDS}. Received: {preferred_backend!r}.")
    if left_size is None and right_size is None:
        raise ValueError(
            "At least one of the `left_size` or `right_size` must be specified. Received: left_size=None and "
            "right_size=None"
        )
    columns, batch_size = _columns(dataset)
    length = len(dataset) if columns is None else elements.rows_of(columns)
    left, right = _sizes(left_size, right_size, length)
    order = np.random.default_rng(seed).permutation(length) if shuffle else np.arange(length)
    numbers = order[:left], order[length - right :]
    if columns is None:
        return tuple(torch.utils.data.Subset(dataset, part.tolist()) for part in numbers)  # type: ignore[return-value]
    parts = (_Part(columns, part) for part in numbers)
    return tuple(parts if batch_size is None else (part.batch(batch_size) for part in parts))  # type: ignore[return-value]


def _columns(dataset: Any) -> tuple[Any, int | None]:
    """The arrays of a dataset (None for a torch dataset, which stays as it is), and its batch size."""
    if isinstance(dataset, np.ndarray):
        return (elements.to_columns(dataset),), None
    if isinstance(dataset, (list, tuple)):
        return _columns_of_arrays(dataset), None
    if isinstance(dataset, Dataset):
        return elements.stack(list(dataset)), None
    if isinstance(dataset, torch.utils.data.Dataset):
        return None, None
    if any(parent.__module__.startswith("tensorflow.python.data") for parent in type(dataset).__mro__):
        batch_size = getattr(dataset, "_batch_size", None)
        samples = dataset if batch_size is None else dataset.unbatch()
        read = [elements.to_element(sample) for sample in samples.as_numpy_iterator()]
        return elements.stack(read), None if batch_size is None else int(batch_size)
    raise TypeError(
        "`dataset` must be an array, a list or tuple of arrays, a torch `Dataset` or a `tf.data.Dataset`. Received: "
        f"{dataset!r} of type {type(dataset)}"
    )


def _columns_of_arrays(arrays: Any) -> tuple:
    kind = type(arrays).__name__
    if not arrays:
        raise ValueError(f"Received an empty {kind} dataset. Please provide a non-empty {kind} of arrays.")
    for index, array in enumerate(arrays):
        if not isinstance(array, (np.ndarray, torch.Tensor)):
            raise ValueError(f"Expected a {kind} of `numpy.ndarray` objects, Received: {type(array)} at index {index}.")
        if len(array) != len(arrays[0]):
            raise ValueError(
                f"Received a {kind} of NumPy arrays with different lengths. Mismatch found at index {index}, Expected "
                f"shape={arrays[0].shape} Received shape={array.shape}. Please provide arrays of the same length."
            )
    return tuple(elements.to_columns(array) for array in arrays)


def _sizes(left: Any, right: Any, length: int) -> tuple[int, int]:
    """The sizes of the parts, as numbers."""
    for name, size in (("left_size", left), ("right_size", right)):
        if size is None:
            continue
        if type(size) not in (int, float):
            raise TypeError(
                f"Invalid `{name}` Type. Expected: int or float or None, Received: type({name})={type(size)}."
            )
        if not 0 < size < (length if type(size) is int else 1):
            raise ValueError(
                f"`{name}` should be either a positive integer smaller than {length}, or a float within the range "
                f"`[0, 1]`. Received: {name}={size}"
            )
    if type(left) is type(right) is float and left + right > 1:
        raise ValueError(
            "The sum of `left_size` and `right_size` is greater than 1. It must be less than or equal to 1. Received: "
            f"{left} and {right}"
        )
    counts = [round(size * length) if type(size) is float else size for size in (left, right)]
    first = length - counts[1] if counts[0] is None else counts[0]
    second = length - first if counts[1] is None else counts[1]
    if first + second > length:
        raise ValueError(
            f"The sum of `left_size` and `right_size` should be smaller than the {length}. Received: left_size + "
            f"right_size = {first + second} and total_length = {length}"
        )
    if not first or not second:
        side = "right" if first else "left"
        raise ValueError(
            f"With `dataset` of length={length}, `left_size`={first} and `right_size`={second}. Resulting {side} side "
            "dataset split will be empty. Adjust any of the aforementioned parameters"
        )
    return first, second
