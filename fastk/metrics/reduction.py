"""Metrics that are sums and means: of values, or of what a function makes of targets and predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import config, dtypes, losses, serialization
from fastk.losses.arrays import squeeze_or_expand_to_same_rank
from fastk.losses.loss import without_defaults
from fastk.losses.reduction import apply_mask
from fastk.metrics.metric import Metric, accumulate
from fastk.scopes import state
from fastk.tensor import convert_to_tensor, get_keras_mask


def detached(x: Any) -> torch.Tensor:
    """`x` as a tensor that no gradient flows through."""
    x = convert_to_tensor(x)
    return x.detach() if x.requires_grad else x


def weigh(
    values: torch.Tensor, sample_weight: Any, dtype: torch.dtype, reduce: Callable[..., torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One weighted value and one weight a sample.

    Args:
        values: `(batch, ...)`, or a scalar.
        sample_weight: weights that broadcast against `values` from the left: `(batch,)`, `(batch, time)`, ...
        dtype: of both results.
        reduce: `torch.sum` or `torch.mean`, over the axes that weights do not have, then over all but the first.
    """
    mask = get_keras_mask(values)
    values = values.to(dtype)
    weight = detached(apply_mask(sample_weight, mask, dtype, "sum")).to(dtype)
    values, weight = squeeze_or_expand_to_same_rank(values, weight)
    axes = weight.ndim
    if values.ndim > axes:
        values = reduce(values, dim=tuple(range(axes, values.ndim)))
    weight = weight.broadcast_to(values.shape)
    values = values * weight
    if axes > 1:
        weight = reduce(weight, dim=tuple(range(1, axes)))
    if values.ndim > 1:
        values = reduce(values, dim=tuple(range(1, values.ndim)))
    return values, weight


class Sum(Metric):
    """The sum of values.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> total = fastk.metrics.Sum()
    >>> total.update_state([1, 3, 5])
    >>> print(total([7], sample_weight=[0.5]))
    12.5
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable(dtype=self.dtype, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds values, each times its weight."""
        values = detached(values)
        if sample_weight is not None:
            values, _ = weigh(values, sample_weight, self._torch_dtype, torch.sum)
        accumulate(self.total, values.sum(dtype=self._torch_dtype))

    def result(self) -> Any:
        """The sum so far."""
        return self.total.value


class Mean(Metric):
    """The mean of values, weighted where weights are given; 0 before the first.

    Args:
        name, dtype: as in `Metric`.

    >>> import fastk
    >>> mean = fastk.metrics.Mean()
    >>> mean.update_state([1, 3, 5, 7])
    >>> print(mean.result())
    4.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        # The mean of integers is a fraction.
        kept = self.dtype if self._torch_dtype.is_floating_point else config.floatx()
        self._torch_dtype = dtypes.to_torch_dtype(kept)
        self.total = self.add_variable(dtype=kept, name="total")
        self.count = self.add_variable(dtype=kept, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Takes in values: the mean of each sample's, times its weight.

        Args:
            values: `(batch, ...)`, or a scalar.
            sample_weight: weights that broadcast against `values` from the left, `(batch,)` above all.
        """
        values = detached(values)
        dtype = self._torch_dtype
        if sample_weight is None:
            size = values.shape[0] if values.ndim else 1
            total = values.sum(dtype=dtype) if values.ndim else values.to(dtype)
            if values.ndim > 1 and values.numel() > size:
                total = total / (values.numel() // size)  # the mean of each sample's values
            accumulate(self.total, total)
            accumulate(self.count, size)
        elif isinstance(sample_weight, (int, float)):
            # A number, such as the size of the batch that a loss is the mean of, goes to the device with the operation.
            accumulate(self.total, values.to(dtype).mean() if values.ndim else values.to(dtype), times=sample_weight)
            accumulate(self.count, sample_weight)
        else:
            values, weight = weigh(values, sample_weight, dtype, torch.mean)
            accumulate(self.total, values.sum())
            accumulate(self.count, weight.sum())

    def result(self) -> Any:
        """The mean so far."""
        total, count = self.total.value, self.count.value
        return (total / count).masked_fill_(count.logical_not(), 0)


class MeanMetricWrapper(Mean):
    """The mean of a function of targets and predictions.

    Args:
        fn: `fn(y_true, y_pred, **kwargs)`, one value an entry.
        name, dtype: as in `Metric`.
        **kwargs: further arguments of `fn`.

    >>> import fastk
    >>> metric = fastk.metrics.MeanMetricWrapper(fastk.losses.mean_squared_error, name="error")
    >>> print(metric([[0.0, 0.0]], [[1.0, 3.0]]))
    5.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any):
        super().__init__(name=name, dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs
        if isinstance(fn, losses.Loss) or any(fn is function for function in losses.FUNCTIONS):
            self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch.

        Args:
            y_true: targets.
            y_pred: predictions; a mask that they carry leaves entries out.
            sample_weight: weights that broadcast against the function's values from the left.
        """
        mask = get_keras_mask(y_pred)
        if isinstance(y_pred, torch.Tensor) and y_pred.requires_grad:
            y_pred = y_pred.detach()
        state.internal += 1
        try:
            values = self._fn(y_true, y_pred, **self._fn_kwargs)
        finally:
            state.internal -= 1
        if mask is not None:
            sample_weight = apply_mask(sample_weight, mask, self._torch_dtype, "sum")
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the function as its serialized form."""
        serialize = serialization.serialize_keras_object
        return super().get_config() | {"fn": serialize(self._fn)} | serialize(self._fn_kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A metric from `get_config`'s result."""
        if "fn" in config:
            config = serialization.deserialize_keras_object(config)
        return cls(**config)


class FunctionMetric(MeanMetricWrapper):
    """Base of the built-in means: the function is the class's own, its arguments are attributes and configuration.

    Args:
        direction: `"up"` where more is better, else `"down"`.
        optional: arguments that the configuration names only where they are not this default.
        **kwargs: further arguments of `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None,
        dtype: Any,
        direction: str | None = "down",
        optional: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(fn, name=name, dtype=dtype, **kwargs)
        self._direction = direction
        self._optional = optional or {}
        self.__dict__.update(kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Metric.get_config(self) | without_defaults(self._fn_kwargs, self._optional)
