"""`Normalization`: features with mean 0 and variance 1, by statistics of the data set."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from fastk import config as settings
from fastk.layers.layer import Layer
from fastk.tensor import convert_to_tensor


class Normalization(Layer):
    """`(inputs - mean) / sqrt(variance)`, with statistics that are given or learned from data by `adapt`.

    Args:
        axis: the axis, or axes, along which each entry has a mean and variance of its own; None for one of each.
        mean, variance: the statistics; by default those of `adapt`.
        invert: whether to undo the normalisation instead.

    >>> import fastk, numpy
    >>> layer = fastk.layers.Normalization()
    >>> layer.adapt(numpy.array([[0.0], [2.0]]))
    >>> print(layer(numpy.array([[0.0], [1.0]])))
    [[-1.]
     [ 0.]]
    """

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is not None) != (variance is not None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. "
                f"Received: mean={mean} and variance={variance}"
            )
        if mean is not None and np.shape(mean) != np.shape(variance):
            raise ValueError(
                "When setting values directly, `mean` and `variance` must have the same shape. "
                f"Received: mean shape {np.shape(mean)} and variance shape {np.shape(variance)}"
            )
        if mean is not None and np.ndim(mean) > len(self.axis):
            raise ValueError(
                f"The rank of `mean` must be less than or equal to the number of axes ({len(self.axis)}). "
                f"Received: mean shape {np.shape(mean)} for axis {self.axis}"
            )
        self.input_mean = mean
        self.input_variance = variance
        self.invert = invert
        self.supports_masking = True
        self.mean: Any = None
        self.variance: Any = None
        self._build_input_shape: tuple | None = None
        # Numbers and lists may be given where other layers take tensors alone.
        self._allow_non_tensor_positional_args = True

    def build(self, input_shape: Any) -> None:
        """Makes the variables of the statistics, or shapes those that were given."""
        if input_shape is None:
            return
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ValueError(
                f"All `axis` values must be in the range [-ndim, ndim). Received inputs with ndim={rank}, while "
                f"axis={self.axis}"
            )
        self._build_input_shape = tuple(input_shape)
        self._keep_axis = tuple(sorted(axis % rank for axis in self.axis))
        for axis in self._keep_axis:
            if input_shape[axis] is None:
                raise ValueError(
                    "All `axis` values to be kept must have a known shape. "
                    f"Received axis={self.axis}, inputs.shape={input_shape}, with unknown axis at index {axis}"
                )
        self._reduce_axis = tuple(axis for axis in range(rank) if axis not in self._keep_axis)
        self._broadcast_shape = tuple(size if axis in self._keep_axis else 1 for axis, size in enumerate(input_shape))
        if self.input_mean is not None:
            self._use(self._given(self.input_mean), self._given(self.input_variance))
            return
        shape = tuple(input_shape[axis] for axis in self._keep_axis)
        self.adapt_mean = self.add_weight(name="mean", shape=shape, initializer="zeros", trainable=False)
        self.adapt_variance = self.add_weight(name="variance", shape=shape, initializer="ones", trainable=False)
        # Kept for files: Keras counts batches here.
        self.count = self.add_weight(name="count", shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.built = True
        self.finalize_state()

    def _given(self, value: Any) -> torch.Tensor:
        """A given statistic, its axes those that are kept."""
        value = convert_to_tensor(value)
        shape = [1] * len(self._broadcast_shape)
        for i in range(1, value.ndim + 1):
            shape[self._keep_axis[-i]] = value.shape[-i]
        return value.reshape(shape).expand(self._broadcast_shape)

    def _use(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        dtype = self._torch_input_dtype()
        self.mean, self.variance = mean.to(dtype), variance.to(dtype)

    def finalize_state(self) -> None:
        """Makes `mean` and `variance` of the variables, after these have changed."""
        if self.input_mean is None and self.built:
            mean, variance = self.adapt_mean.value.detach(), self.adapt_variance.value.detach()
            self._use(mean.reshape(self._broadcast_shape), variance.reshape(self._broadcast_shape))

    def adapt(self, data: Any) -> None:
        """Sets the statistics to those of `data`.

        Args:
            data: an array, a tensor, or anything that yields batches of them (or tuples that begin with them).
        """
        if isinstance(data, (np.ndarray, torch.Tensor)):
            batches: Iterable = [data]
        elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__"):
            batches = (data[i] for i in range(len(data)))
        elif hasattr(data, "__iter__"):
            batches = data
        else:
            raise TypeError(
                f"Unsupported data type: {type(data)}. `adapt` supports `np.ndarray`, tensors, `tf.data.Dataset`, "
                "`keras.utils.PyDataset`, and iterables of batches (e.g. list, generator)."
            )
        arrays = (_features(batch) for batch in batches)
        first = next(arrays, None)
        if first is None:
            raise ValueError(
                "adapt() received an empty iterable (no batches). Expected at least one batch. Pass a non-empty "
                "iterable of arrays or tensors, e.g. layer.adapt([x]) or layer.adapt(list_of_batches)."
            )
        self._build_for(tuple(first.shape))
        mean, variance = self._statistics(itertools.chain([first], arrays))
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(variance)
        self.finalize_state()

    def _build_for(self, shape: tuple) -> None:
        if self.input_mean is not None:
            raise ValueError("adapt() cannot be called on a layer that was given `mean` and `variance`.")
        if not self.built:
            self.build(shape)
        elif any(shape[axis] != self._build_input_shape[axis] for axis in self._keep_axis):  # type: ignore[index]
            raise ValueError(
                f"The layer was built with input_shape={self._build_input_shape}, but adapt() is being called with "
                f"data with an incompatible shape, data.shape={shape}"
            )

    def _statistics(self, arrays: Iterable) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance over all batches, by the update of Chan et al., 1979."""
        count, mean, variance = 0, torch.zeros(()), torch.zeros(())
        for array in arrays:
            # In float64: sums over a data set are long.
            batch = convert_to_tensor(array).to(torch.float64)
            if any(batch.shape[axis] != self._build_input_shape[axis] for axis in self._keep_axis):  # type: ignore[index]
                raise ValueError(
                    f"adapt() yielded a batch with incompatible shape. Expected {self._build_input_shape}, got "
                    f"{tuple(batch.shape)}."
                )
            size = math.prod(batch.shape[axis] for axis in self._reduce_axis)
            count += size
            share = size / count
            own_mean = batch.mean(self._reduce_axis) if self._reduce_axis else batch
            own_variance = batch.var(self._reduce_axis, correction=0) if self._reduce_axis else torch.zeros_like(batch)
            mean = mean.to(own_mean)
            variance = variance.to(own_mean)
            both = mean * (1.0 - share) + own_mean * share
            variance = (variance + (mean - both) ** 2) * (1.0 - share) + (own_variance + (own_mean - both) ** 2) * share
            mean = both
        return mean, variance

    def call(self, inputs: Any) -> Any:
        """`inputs`, normalised."""
        if self.mean is None:
            raise ValueError("You must call `.build(input_shape)` on the layer before using it.")
        inputs = convert_to_tensor(inputs, dtype=self.compute_dtype)
        mean, deviation = self.mean, self.variance.sqrt().clamp(min=settings.epsilon())
        if inputs.device != mean.device:
            mean, deviation = mean.to(inputs.device), deviation.to(inputs.device)
        return mean + inputs * deviation if self.invert else (inputs - mean) / deviation

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": self.invert,
            "mean": np.array(self.input_mean).tolist(),
            "variance": np.array(self.input_variance).tolist(),
        }

    def get_build_config(self) -> dict[str, Any] | None:
        """The shape that the layer was built for."""
        return {"input_shape": self._build_input_shape} if self._build_input_shape else None

    def load_own_variables(self, store: Any) -> None:
        """Reads the statistics from `store`."""
        super().load_own_variables(store)
        self.finalize_state()


def _features(batch: Any) -> Any:
    """The inputs among what a data set yields."""
    features = batch[0] if isinstance(batch, tuple) else batch
    if not hasattr(features, "shape"):
        raise TypeError(
            "adapt() expects an iterable that yields arrays or tensors with a `.shape` attribute (e.g. numpy arrays or "
            f"tensors). Got an element of type {type(features).__name__}."
        )
    return features
