"""`Discretization`: numbers to the bins they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import config as settings
from fastk import ops
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import check_dense, encoded
from fastk.layers.preprocessing.index_lookup import batches_of
from fastk.tensor import convert_to_numpy, convert_to_tensor, get_device

_OUTPUT_MODES = ("int", "one_hot", "multi_hot", "count")


class Discretization(Layer):
    """Numbers to the index of the interval that they fall into, of boundaries that are given or learned by `adapt`.

    Args:
        bin_boundaries: numbers in order: below the first is bin 0; a boundary belongs to the bin above it.
        num_bins: how many bins `adapt` makes, each with as many numbers.
        epsilon: the error of the quantiles that `adapt` keeps, as a share of the numbers.
        output_mode: `"int"`, `"one_hot"`, `"multi_hot"` or `"count"`.
        sparse: not supported; must be False.
        dtype: the layer's dtype policy.
        name: the layer's name.

    >>> import fastk
    >>> print(fastk.layers.Discretization(bin_boundaries=[0.0, 1.0, 2.0])([[-1.5, 1.0, 3.4, 0.5]]))
    [[0 2 3 1]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if sparse and output_mode == "int":
            raise ValueError(
                "`sparse=True` may only be used if `output_mode` is `'one_hot'`, `'multi_hot'`, or `'count'`. "
                f"Received: sparse={sparse} and output_mode={output_mode}"
            )
        check_dense(sparse)
        if output_mode not in _OUTPUT_MODES:
            raise ValueError(
                "Unknown value for `output_mode` argument of layer Discretization. Expected one of "
                f"{_OUTPUT_MODES}. Received: output_mode={output_mode}"
            )
        if num_bins is not None and num_bins < 0:
            raise ValueError(f"`num_bins` must be greater than or equal to 0. Received: `num_bins={num_bins}`")
        if num_bins is not None and bin_boundaries is not None:
            raise ValueError(
                f"Both `num_bins` and `bin_boundaries` should not be set. Received: `num_bins={num_bins}` and "
                f"`bin_boundaries={bin_boundaries}`"
            )
        if num_bins is None and bin_boundaries is None:
            raise ValueError("You need to set either `num_bins` or `bin_boundaries`.")
        self.bin_boundaries = bin_boundaries
        self.num_bins = num_bins
        self.epsilon = epsilon
        self.output_mode = output_mode
        self.sparse = sparse
        self.summary: Any = None if bin_boundaries else _EMPTY.copy()
        self._allow_non_tensor_positional_args = True
        self._kept: Any = None

    @property
    def input_dtype(self) -> str:
        """The dtype that the numbers are compared in."""
        return settings.floatx()

    @property
    def output_dtype(self) -> str:
        """The dtype of the outputs."""
        return self.compute_dtype if self.output_mode != "int" else "int32"

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Sets the boundaries to quantiles of `data`.

        Args:
            data: an array or a tensor; or anything that yields batches of them.
            steps: how many batches are taken, by default all.
        """
        if self.num_bins is None:
            raise ValueError(
                "Cannot adapt a Discretization layer that has been initialized with `bin_boundaries`, use `num_bins` "
                "instead."
            )
        self.reset_state()
        # A list is one of batches, here.
        for batch in batches_of(iter(data) if isinstance(data, (list, tuple)) else data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Adds numbers to the summary of all that were seen."""
        values = np.array(convert_to_numpy(data)).astype("float32")
        merged = np.concatenate((_summary_of(values, self.epsilon), self.summary), axis=1)
        self.summary = _compressed(np.take(merged, np.argsort(merged[0]), axis=1), self.epsilon)

    def finalize_state(self) -> None:
        """Makes the boundaries of the summary."""
        if self.num_bins is not None:
            self.bin_boundaries = _compressed(self.summary, 1.0 / self.num_bins)[0, :-1].tolist()

    def reset_state(self) -> None:
        """Forgets the numbers that were seen; the boundaries stay."""
        if self.num_bins is not None:
            self.summary = _EMPTY.copy()

    def call(self, inputs: Any) -> torch.Tensor:
        """The bins of `inputs`."""
        if self.bin_boundaries is None:
            raise ValueError(
                "You need to either pass the `bin_boundaries` argument at construction time or call `adapt(dataset)` "
                "before you can start using the `Discretization` layer."
            )
        indices = ops.digitize(convert_to_tensor(inputs), self._boundaries())
        return encoded(indices, self.output_mode, len(self.bin_boundaries) + 1, self.output_dtype)

    def _boundaries(self) -> torch.Tensor:
        """The boundaries where they are compared, put there once."""
        boundaries: Any = self.bin_boundaries
        kept: Any = self._kept
        place = tuple(boundaries), get_device()
        if kept is None or kept[0] != place:
            kept = place, convert_to_tensor(list(boundaries), dtype=settings.floatx())
            object.__setattr__(self, "_kept", kept)
        return kept[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`, or that with an axis of bins."""
        if self.output_mode == "int":
            return input_shape
        depth = len(self.bin_boundaries) + 1 if self.bin_boundaries is not None else self.num_bins
        shape = tuple(input_shape)
        if self.output_mode == "one_hot":
            return (*shape[:-1], depth) if len(shape) > 1 and shape[-1] == 1 else (*shape, depth)
        return (shape[0], *shape[2:], depth) if len(shape) >= 2 else (depth,)

    def compute_output_spec(self, inputs: Any) -> KerasTensor:
        """A KerasTensor like the outputs."""
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.output_dtype)

    def load_own_variables(self, store: Any) -> None:
        """Reads the summary, which older versions of Keras kept."""
        if len(store) == 1:
            self.summary = np.asarray(store["0"])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the boundaries that were learned."""
        return {
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A layer from `get_config`'s result."""
        config = dict(config)
        learned = None
        if config.get("bin_boundaries") is not None and config.get("num_bins") is not None:
            learned = config.pop("bin_boundaries")
        layer = cls(**config)
        if learned is not None:
            layer.bin_boundaries = learned
        return layer


# ---------------------------------------------------------------- quantiles
# A summary is (2, n): numbers in order, and how many of those seen each stands for.

_EMPTY = np.array([[], []], dtype="float32")


def _summary_of(values: np.ndarray, epsilon: float) -> np.ndarray:
    """About 1 / epsilon of the values, evenly spaced in their order."""
    values = np.sort(values.reshape(-1))
    step = max(values.size / (1.0 / epsilon), 1)
    kept = values[int(step - 1) :: int(step)]
    return np.stack((kept, np.full_like(kept, step)))


def _compressed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """A summary of about 1 / epsilon numbers, interpolated at even shares of the weight."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    weights = summary[1].cumsum()
    own_shares = weights / weights[-1]
    numbers = np.interp(shares, own_shares, summary[0])
    weights = np.interp(shares, own_shares, weights)
    return np.stack((numbers, np.diff(weights, prepend=0.0))).astype("float32")
