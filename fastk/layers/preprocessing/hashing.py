"""`Hashing`: categories to bins, without a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import config as settings
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import check_dense, encoded
from fastk.layers.preprocessing.farmhash import buckets
from fastk.layers.preprocessing.strings import as_bytes, is_text, text_array
from fastk.tensor import convert_to_numpy, convert_to_tensor

_OUTPUT_MODES = ("int", "one_hot", "multi_hot", "count")


class Hashing(Layer):
    """Strings or integers to one of a number of bins, by hash: FarmHash's, or SipHash where there is a salt.

    The bins are those of TensorFlow.

    Args:
        num_bins: the number of bins, with that of masked values.
        mask_value: a value that gets the bin 0, others then being from 1 on.
        salt: one or two integers: the key of SipHash.
        output_mode: `"int"`, `"one_hot"`, `"multi_hot"` or `"count"`.
        sparse: not supported; must be False.

    >>> import fastk
    >>> print(fastk.layers.Hashing(num_bins=3)([["A"], ["B"], ["C"], ["D"], ["E"]]).flatten())
    [1 0 1 1 2]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ):
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else settings.floatx()
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise ValueError(
                f"The `num_bins` for `Hashing` cannot be `None` or non-positive values. Received: num_bins={num_bins}."
            )
        if output_mode == "int" and self.dtype_policy.name not in ("int32", "int64"):
            raise ValueError(
                "When `output_mode=\"int\"`, `dtype` should be an integer type, 'int32' or 'int64'. Received: "
                f"dtype={kwargs['dtype']}"
            )
        if output_mode not in _OUTPUT_MODES:
            raise ValueError(
                f"Invalid value for argument `output_mode`. Expected one of {_OUTPUT_MODES}. Received: "
                f"output_mode={output_mode}"
            )
        if sparse and output_mode == "int":
            raise ValueError(
                '`sparse` may only be true if `output_mode` is `"one_hot"`, `"multi_hot"`, or `"count"`. Received: '
                f"sparse={sparse} and output_mode={output_mode}"
            )
        check_dense(sparse)
        if salt is not None and not isinstance(salt, int) and not (isinstance(salt, (tuple, list)) and len(salt) == 2):
            raise ValueError(
                "The `salt` argument for `Hashing` can only be a tuple of size 2 integers, or a single integer. "
                f"Received: salt={salt}."
            )
        self.num_bins = num_bins
        self.mask_value = mask_value
        self.salt = None if salt is None else [salt, salt] if isinstance(salt, int) else list(salt)
        self.strong_hash = salt is not None
        self.output_mode = output_mode
        self.sparse = sparse
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False

    def call(self, inputs: Any) -> torch.Tensor:
        """The bins of `inputs`."""
        if isinstance(inputs, torch.Tensor) and inputs.is_meta:
            return torch.empty(self.compute_output_shape(inputs.shape), dtype=self._torch_input_dtype(), device="meta")
        values = text_array(inputs) if is_text(inputs) else np.asarray(convert_to_numpy(inputs))
        if self.output_mode == "one_hot" and values.ndim and values.shape[-1] == 1:
            values = values.squeeze(-1)
        return encoded(convert_to_tensor(self._bins(values)), self.output_mode, self.num_bins, self.dtype)

    def _bins(self, values: np.ndarray) -> np.ndarray:
        bins, mask = self.num_bins, None
        if self.mask_value is not None and bins > 1:
            bins -= 1
            mask = np.asarray(values == self.mask_value, dtype=bool)
        if values.dtype.kind == "f":
            values = values.astype(np.int64)
        found = buckets(as_bytes(values.ravel().tolist()), bins, self.salt).reshape(values.shape)
        return found if mask is None else np.where(mask, 0, found + 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`, or that with an axis of bins in place of the last."""
        if self.output_mode == "int":
            return tuple(input_shape)
        return (*tuple(input_shape)[:-1], self.num_bins)

    def compute_output_spec(self, inputs: Any) -> KerasTensor:
        """A KerasTensor like the outputs."""
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "salt": self.salt,
            "mask_value": self.mask_value,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
        }
