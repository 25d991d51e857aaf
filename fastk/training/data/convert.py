"""Arrays of whatever kind as torch tensors: no copy where memory and dtype allow, the caller's memory never written to.

Floats become `config.floatx()`; integers and booleans keep their type (except for uint16, uint32 and uint64, with which
torch cannot compute: they become the next wider signed type).
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastk import config, tree
from fastk.tensor import is_text_array

# What torch cannot compute with, and the type that holds it.
_SUBSTITUTES: dict[np.dtype, type] = {
    np.dtype(narrow): wide
    for narrow, wide in (
        (np.uint16, np.int32),
        (np.uint32, np.int64),
        (np.uint64, np.int64),
        (np.longdouble, np.float64),
        (np.clongdouble, np.complex128),
    )
    if np.dtype(narrow) != np.dtype(wide)
}

ACCEPTED = (
    "NumPy arrays, torch tensors, pandas and scipy.sparse objects, other array-likes (with `__array__`), lists, tuples "
    "or dicts of them, `fastk.utils.PyDataset`, `torch.utils.data.DataLoader`, `tf.data.Dataset`, "
    "`fastk.utils.Dataset`, and generators or other iterators of batches"
)


class SparseRows:
    """A scipy sparse matrix that gives dense tensors: only the rows of one batch are ever dense.

    It stands where a tensor does in an array source, which asks for no more than this.
    """

    device = torch.device("cpu")

    def __init__(self, matrix: Any):
        self.matrix = matrix.tocsr()
        self.shape = self.matrix.shape

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """The rows numbered `index`, dense; `dim` is 0."""
        if dim != 0:
            raise ValueError(f"A sparse matrix gives rows alone: `dim` must be 0. Received: {dim}.")
        return to_tensor(self.matrix[index.numpy()].toarray())


class TextRows:
    """Strings that give NumPy arrays of them, in the place of a tensor: see `SparseRows`."""

    device = torch.device("cpu")

    def __init__(self, array: np.ndarray):
        self.array = array
        self.shape = array.shape

    def index_select(self, dim: int, index: torch.Tensor) -> np.ndarray:
        """The rows numbered `index`; `dim` is 0."""
        if dim != 0:
            raise ValueError(f"Strings are given by rows alone: `dim` must be 0. Received: {dim}.")
        return self.array[index.numpy()]


def as_text(value: Any) -> np.ndarray | None:
    """`value` as an array of strings, a column of a table as one feature; None where it holds other values."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Series):
        value = value.to_frame().to_numpy(dtype=object)
    if type(value).__module__.startswith("tensorflow.python.") and getattr(value.dtype, "name", "") == "string":
        value = value.numpy()
    return value if is_text_array(value) else None


def to_leaf(value: Any) -> torch.Tensor | np.ndarray:
    """One array as `to_tensor` makes it; strings stay an array of NumPy."""
    text = as_text(value)
    return to_tensor(value) if text is None else text


def is_sparse_matrix(value: Any) -> bool:
    """Whether `value` is a scipy sparse matrix or array."""
    return type(value).__module__.startswith("scipy.sparse")


def is_array(value: Any) -> bool:
    """Whether `value` is one array that `to_tensor` would take."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return True
    return (hasattr(value, "__array__") and not isinstance(value, type)) or is_sparse_matrix(value)


def to_tensor(value: Any) -> torch.Tensor:
    """One array as a tensor with at least one axis, where it is.

    Raises:
        ValueError: for what is no array, has no axis, or holds strings or objects.

    >>> to_tensor(np.ones((2, 3))).dtype, to_tensor(np.ones(2, "uint8")).dtype
    (torch.float32, torch.uint8)
    """
    tensor = value.detach() if isinstance(value, torch.Tensor) else _from_numpy(_as_numpy(value))
    if tensor.layout is not torch.strided:
        raise ValueError(
            f"Sparse torch tensors cannot be cut into batches: pass `x.to_dense()`. Received: {tensor.layout}."
        )
    if tensor.dim() == 0:
        raise ValueError(
            f"Data needs an axis of samples, but this is a single value: {value!r}. Pass `np.array([value])`."
        )
    if tensor.is_floating_point():
        return tensor.to(getattr(torch, config.floatx()))
    return tensor


def map_arrays(function: Callable[[Any], Any], part: Any) -> Any:
    """`function` over the arrays of a structure, which is mostly one array alone; None stays None."""
    if part is None:
        return None
    return tree.map_structure(function, part, none_is_leaf=False) if tree.is_nested(part) else function(part)


def _as_numpy(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if is_sparse_matrix(value):
        return value.toarray()
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Series):
        # A column of a table is one feature, as in Keras.
        return _frame_to_numpy(value.to_frame())
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return _frame_to_numpy(value)
    if type(value).__module__.startswith("tensorflow.python."):
        # TensorFlow's two kinds of tensors that are no arrays.
        if type(value).__name__ == "RaggedTensor":
            value = value.to_tensor()
        elif type(value).__name__ == "SparseTensor":
            value = sys.modules["tensorflow"].sparse.to_dense(value)
    if not is_array(value):
        raise ValueError(
            f"Expected an array, received {reprlib.repr(value)} of type {type(value).__name__}. "
            "Convert it with `np.asarray` first: lists of numbers read as lists of inputs."
        )
    return np.asarray(value)


def _frame_to_numpy(frame: Any) -> np.ndarray:
    """A DataFrame's values in one type that holds every column."""
    kinds = {name: dtype.kind for name, dtype in frame.dtypes.items()}
    wrong = [str(name) for name, kind in kinds.items() if kind not in "biuf"]
    if wrong:
        raise ValueError(
            f"Invalid dtype: the columns {', '.join(wrong)} are not numeric ({frame[wrong].dtypes.iloc[0]}). "
            "Encode or drop them, or convert them with `frame.astype('float32')`."
        )
    if "f" in kinds.values():
        return frame.to_numpy(dtype="float64" if config.floatx() == "float64" else "float32")
    values = frame.to_numpy()
    # Columns of booleans beside integers, or of pandas' own integer types, come as objects.
    return frame.to_numpy(dtype="int64") if values.dtype.kind == "O" else values


def _from_numpy(array: np.ndarray) -> torch.Tensor:
    if array.dtype.kind not in "biufc":
        if array.dtype.name != "bfloat16":  # JAX's and TensorFlow's, no type of NumPy's own
            hint = (
                "encode it with `StringLookup`, say"
                if array.dtype.kind in "SU"
                else "convert it: `array.astype('float32')`"
            )
            raise ValueError(
                f"Invalid dtype: {array.dtype}. Data must be numbers or booleans; {hint}. "
                f"Received: {reprlib.repr(array.reshape(-1)[:3].tolist())}, of shape {array.shape}."
            )
        array = array.astype(np.float32)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    wide = _SUBSTITUTES.get(array.dtype)
    if wide is not None:
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"The uint64 value {array.max()} does not fit in int64, torch's widest integer.")
        array = array.astype(wide)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))


class _Writable:
    """The memory of a read-only array under a writable name, for torch has no tensors that cannot be written to.

    `torch.from_numpy` would warn of that; nothing here writes.
    """

    def __init__(self, array: np.ndarray):
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self.owner = array


def flatten_named(name: str, structure: Any) -> list[tuple[str, Any]]:
    """`(name, leaf)` pairs of a structure, a name being how Python would reach the leaf: `x['image'][0]`."""
    pairs = tree.flatten_with_path(structure)
    return [(name + "".join(f"[{key!r}]" for key in path), leaf) for path, leaf in pairs]
