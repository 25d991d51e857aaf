"""`HashedCrossing`: combinations of categories to bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import check_dense, encoded
from fastk.layers.preprocessing.farmhash import concatenated, fingerprint64
from fastk.layers.preprocessing.strings import as_bytes, is_text, text_array
from fastk.tensor import convert_to_numpy, convert_to_tensor

_KEY = np.uint64(0xDECAFCAFFE)  # TensorFlow's, which all fingerprints begin with


class HashedCrossing(Layer):
    """The combination of two or more features to one of a number of bins, by hash. The bins are TensorFlow's.

    Args:
        num_bins: the number of bins.
        output_mode: `"int"` or `"one_hot"`.
        sparse: not supported; must be False.

    >>> import fastk
    >>> layer = fastk.layers.HashedCrossing(num_bins=5)
    >>> print(layer((["A", "B", "A", "B", "A"], [101, 101, 101, 102, 102])))
    [1 4 1 1 3]
    """

    def __init__(
        self,
        num_bins: int,
        output_mode: str = "int",
        sparse: bool = False,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        if output_mode == "int" and dtype is None:
            dtype = "int64"
        super().__init__(name=name, dtype=dtype, **kwargs)
        check_dense(sparse)
        if output_mode not in ("int", "one_hot"):
            raise ValueError(
                "Unknown value for `output_mode` argument of layer HashedCrossing. Expected one of ('int', 'one_hot'). "
                f"Received: output_mode={output_mode}"
            )
        self.num_bins = num_bins
        self.output_mode = output_mode
        self.sparse = sparse
        self._allow_non_tensor_positional_args = True
        self._convert_input_args = False
        self.supports_jit = False

    def call(self, inputs: Any) -> torch.Tensor:
        """The bin of each combination."""
        arrays = self._checked(inputs)
        total = np.full(arrays[0].size, _KEY, dtype=np.uint64)
        for array in arrays:
            if array.dtype == object:
                own = fingerprint64(as_bytes(array.ravel().tolist()))
            else:
                own = np.ascontiguousarray(array.ravel().astype(np.int64)).view(np.uint64)
            total = concatenated(total, own)
        bins = (total % np.uint64(self.num_bins)).astype(np.int64).reshape(arrays[0].shape)
        return encoded(convert_to_tensor(bins), self.output_mode, self.num_bins, self.dtype)

    def _checked(self, inputs: Any) -> list[np.ndarray]:
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"`HashedCrossing` should be called on a list or tuple of inputs. Received: inputs={inputs}"
            )
        if len(inputs) < 2:
            raise ValueError(f"`HashedCrossing` should be called on at least two inputs. Received: inputs={inputs}")
        arrays = [text_array(x) if is_text(x) else np.asarray(convert_to_numpy(x)) for x in inputs]
        shape = arrays[0].shape
        if len(shape) > 2 or (len(shape) == 2 and shape[-1] != 1):
            raise ValueError(
                "All `HashedCrossing` inputs should have shape `()`, `(batch_size)` or `(batch_size, 1)`. Received: "
                f"inputs={inputs}"
            )
        if any(array.shape != shape for array in arrays):
            raise ValueError(f"All `HashedCrossing` inputs should have equal shape. Received: inputs={inputs}")
        if any(array.dtype != object and array.dtype.kind not in "iu" for array in arrays):
            raise ValueError(
                f"All `HashedCrossing` inputs should have an integer or string dtype. Received: inputs={inputs}"
            )
        return arrays

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of one input, or that with an axis of bins."""
        if len(input_shape) < 2 or any(not isinstance(shape, (tuple, list)) for shape in input_shape[:2]):
            raise ValueError(f"Expected as input a list/tuple of 2 tensors. Received input_shape={input_shape}")
        first, second = tuple(input_shape[0]), tuple(input_shape[1])
        if first[-1:] != second[-1:]:
            raise ValueError(
                f"Expected the two input tensors to have identical shapes. Received input_shape={input_shape}"
            )
        if self.output_mode == "int":
            return first
        return (*first[:-1], self.num_bins) if first and first[-1] == 1 else (*first, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_bins": self.num_bins,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }
