"""What the elements of a `Dataset` are: tuples, lists and dicts of torch tensors, strings and arrays of strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fastk.tensor import convert_to_numpy


class StringArray(np.ndarray):
    """An array of strings, which torch has no tensors for; `numpy()` gives it as a plain array."""

    def numpy(self) -> np.ndarray:
        """The strings as a plain array of objects."""
        return self.view(np.ndarray)


def strings(values: Any) -> StringArray:
    """Strings, or an array of them, as a `StringArray`.

    >>> strings(["a", "b"]).numpy()
    array(['a', 'b'], dtype=object)
    """
    return np.asarray(values, dtype=object).view(StringArray)


def map_leaves(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """`function` over the leaves of structures of one shape: of tuples, lists and dicts. None stays None."""
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: map_leaves(function, value, *(other[key] for other in others)) for key, value in first.items()}
    if isinstance(first, (tuple, list)):
        items = [map_leaves(function, *values) for values in zip(first, *others, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    return function(first, *others)


def leaves(structure: Any) -> list[Any]:
    """The leaves of a structure, depth first."""
    found: list[Any] = []
    map_leaves(found.append, structure)
    return found


def to_leaf(value: Any) -> Any:
    """One array, number or string as a leaf: a tensor where it holds numbers.

    Arrays keep their type; Python's numbers become int32, float32 or bool, as in `tf.data`.
    """
    if isinstance(value, (torch.Tensor, str, bytes, StringArray)):
        return value
    if isinstance(value, bool):
        return torch.tensor(value)
    if isinstance(value, int):
        return torch.tensor(value, dtype=torch.int32 if -(2**31) <= value < 2**31 else torch.int64)
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float32)
    array = np.asarray(value)
    if array.dtype.kind in "US" or array.dtype == object:
        return _string_leaf(array, value)
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"Elements of a dataset are numbers and strings, in tuples, lists and dicts. Received: {value!r} of type "
            f"{type(value).__name__}."
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    shared = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if shared else np.array(array))


def _string_leaf(array: np.ndarray, value: Any) -> Any:
    wrong = next((item for item in array.reshape(-1) if not isinstance(item, (str, bytes))), None)
    if wrong is not None:
        raise TypeError(
            f"An array of objects must hold strings alone; this one, from a {type(value).__name__}, holds {wrong!r} of "
            f"type {type(wrong).__name__}. Convert it first: `np.asarray(x, dtype='float32')`, say."
        )
    return strings(array) if array.ndim else array.item()


def to_element(value: Any) -> Any:
    """A user's structure with each leaf as `to_leaf` makes it."""
    return map_leaves(to_leaf, value)


def to_columns(value: Any) -> Any:
    """A structure of arrays of which each row is a part of one element; a list is an array, as in `tf.data`."""
    if isinstance(value, dict):
        return {key: to_columns(part) for key, part in value.items()}
    if isinstance(value, tuple):
        columns = [to_columns(part) for part in value]
        return type(value)(*columns) if hasattr(value, "_fields") else tuple(columns)
    if isinstance(value, list):
        if value and all(isinstance(item, torch.Tensor) for item in value):
            return torch.stack(value)
        first = value[0] if value else None
        if isinstance(first, (int, float)) and not isinstance(first, bool):
            return to_leaf(np.asarray(value, dtype=_number_type(value)))
    column = to_leaf(value)
    if not getattr(column, "shape", ()):
        raise ValueError(f"Each array needs an axis of elements. Received a single value: {value!r}.")
    return column


def _number_type(values: Sequence[Any]) -> Any:
    """The type of a list of Python's numbers: int32 or float32, as `to_leaf` has it; NumPy's for others."""
    if all(type(item) is int and -(2**31) <= item < 2**31 for item in values):
        return "int32"
    return "float32" if all(type(item) in (int, float) for item in values) else None


def rows_of(columns: Any) -> int:
    """How many rows each of the columns has; all must have as many."""
    sizes = {len(column) for column in leaves(columns)}
    if len(sizes) != 1:
        raise ValueError(f"The arrays of a dataset must be of one length. Received lengths: {sorted(sizes)}.")
    return sizes.pop()


def row(column: Any, index: int) -> Any:
    """One row, in memory of its own."""
    value = column[index]
    return value.clone() if isinstance(value, torch.Tensor) else value


def gather(column: Any, indices: np.ndarray) -> Any:
    """Several rows, in memory of their own."""
    return column[torch.from_numpy(indices)] if isinstance(column, torch.Tensor) else column[indices]


def stack(elements: Sequence[Any]) -> Any:
    """Elements of one structure as one with a new first axis.

    >>> stack([(torch.tensor(1), "a"), (torch.tensor(2), "b")])
    (tensor([1, 2]), StringArray(['a', 'b'], dtype=object))
    """
    return map_leaves(_stack_leaves, *elements)


def _stack_leaves(*values: Any) -> Any:
    values = tuple(map(to_leaf, values))
    if not isinstance(values[0], torch.Tensor):
        return strings(np.stack([np.asarray(value, dtype=object) for value in values]))
    shapes = {tuple(value.shape) for value in values}
    if len(shapes) > 1:
        raise ValueError(
            f"Elements of several shapes cannot be batched: {sorted(shapes)[:5]}. Bring them to one shape with `map`, "
            "or use `padded_batch`."
        )
    return torch.stack(values)


def pad_and_stack(elements: Sequence[Any], shapes: Any, values: Any) -> Any:
    """`stack`, each tensor filled up at the ends of its axes.

    Args:
        elements: the elements.
        shapes: a structure like theirs of target shapes (None or -1: as long as the longest); None for all such.
        values: what is filled up with: a number for all, or a structure like theirs; None for 0.
    """
    given = zip(_for_leaves(elements[0], shapes), _for_leaves(elements[0], values), strict=True)

    def pad_leaves(*items: Any) -> Any:
        shape, value = next(given)
        items = tuple(map(to_leaf, items))
        if not isinstance(items[0], torch.Tensor):
            return _stack_leaves(*items)
        longest = [max(sizes) for sizes in zip(*(item.shape for item in items), strict=True)]
        target = (
            longest
            if shape is None
            else [size if wanted in (None, -1) else wanted for size, wanted in zip(longest, shape, strict=True)]
        )
        if any(size > wanted for size, wanted in zip(longest, target, strict=True)):
            raise ValueError(f"An element of shape {longest} is larger than `padded_shapes` {list(target)}.")
        padded = items[0].new_full((len(items), *target), 0 if value is None else value)
        for index, item in enumerate(items):
            padded[(index, *map(slice, item.shape))] = item
        return padded

    return map_leaves(pad_leaves, *elements)


def _for_leaves(element: Any, given: Any) -> list[Any]:
    """What was given for each leaf of `element`: a structure like it, or one number (or None) for all."""
    if element is None:
        return []
    if isinstance(element, dict):
        parts = given if isinstance(given, dict) else dict.fromkeys(element, given)
        return [value for key in element for value in _for_leaves(element[key], parts[key])]
    if isinstance(element, (tuple, list)):
        parts = given if isinstance(given, (tuple, list)) else [given] * len(element)
        return [value for part, one in zip(element, parts, strict=True) for value in _for_leaves(part, one)]
    return [given]


def to_numpy(element: Any) -> Any:
    """An element with arrays in place of tensors; numbers of no axis become NumPy's scalars."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, StringArray):
            return leaf.numpy()
        if not isinstance(leaf, torch.Tensor):
            return leaf
        array = convert_to_numpy(leaf)
        return array if array.ndim else array[()]

    return map_leaves(convert, element)
