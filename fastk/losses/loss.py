"""`Loss`, the base of all losses, and `LossFunctionWrapper`, which makes one of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import config, dtype_policies, dtypes, serialization, tree
from fastk.losses.arrays import as_tensors, squeeze_or_expand_to_same_rank
from fastk.losses.reduction import AVERAGES, reduce_weighted_values, standardize_reduction
from fastk.naming import auto_name
from fastk.scopes import state
from fastk.tensor import get_keras_mask, to_boundary


class Loss:
    """Base of losses: a subclass's `call` gives one loss an entry, which is weighted, masked and reduced here.

    Args:
        name: by default the class's name in snake case.
        reduction: `"sum_over_batch_size"` or `"mean"` (the mean over all entries), `"sum"`,
            `"mean_with_sample_weight"` (the sum divided by the sum of the weights), `"none"` or None (no reduction).
        dtype: dtype of the computation, or a dtype policy, whose compute dtype is meant; by default `floatx()`.

    >>> import fastk
    >>> class SquaredError(fastk.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return (y_true - y_pred) ** 2
    >>> print(SquaredError()([1.0, 0.0], [0.0, 2.0], sample_weight=[1.0, 0.5]))
    1.5
    """

    # Whether `call` takes targets in their own dtype, class numbers above all, rather than in the loss's.
    _keeps_target_dtype = False

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        self.name = name or auto_name(type(self).__name__)
        self.reduction = standardize_reduction(reduction)
        self._dtype = dtype_policies.get(dtype or config.floatx()).compute_dtype
        self._torch_dtype = dtypes.to_torch_dtype(self._dtype)

    @property
    def dtype(self) -> str:
        """The dtype of the computation."""
        return self._dtype

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of predictions.

        Args:
            y_true: targets: an array, or a structure of them.
            y_pred: predictions; a mask that they carry leaves entries out.
            sample_weight: weights that broadcast against one loss an entry, `(batch,)` in the simplest case.
        """
        mask = get_keras_mask(y_pred)
        state.internal += 1
        try:
            y_pred = as_tensors(y_pred, self._torch_dtype)
            y_true = as_tensors(y_true, None if self._keeps_target_dtype else self._torch_dtype)
            loss = None
            if sample_weight is None and mask is None and self.reduction in AVERAGES:
                loss = self._average(y_true, y_pred)
            if loss is None:
                loss = self._reduced(self.call(y_true, y_pred), sample_weight, mask)
        finally:
            state.internal -= 1
        return to_boundary(loss)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One loss an entry: `y_pred`'s shape without the axes that the loss is over."""
        raise NotImplementedError(f"{type(self).__name__} must implement `call(self, y_true, y_pred)`.")

    def _average(self, y_true: Any, y_pred: Any) -> torch.Tensor | None:
        """The mean of `call`'s values in fewer operations, where there is such a way."""
        return None

    def _reduced(self, values: torch.Tensor, sample_weight: Any, mask: torch.Tensor | None) -> torch.Tensor:
        own_mask = get_keras_mask(values)
        if own_mask is not None:
            mask = own_mask if mask is None else mask & own_mask
        return reduce_weighted_values(values, sample_weight, mask, self.reduction, self._torch_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A loss from `get_config`'s result."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A `Loss` from a function of targets and predictions.

    Args:
        fn: `fn(y_true, y_pred, **kwargs)`, one loss an entry.
        reduction, name, dtype: as in `Loss`.
        **kwargs: further arguments of `fn`.

    >>> import fastk
    >>> loss = fastk.losses.LossFunctionWrapper(fastk.losses.huber, delta=2.0)
    >>> print(loss([[0.0]], [[1.0]]))
    0.5
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs
        self._keeps_target_dtype = getattr(fn, "_keeps_target_dtype", False)
        self._fn_average: Callable[..., Any] | None = getattr(fn, "_average", None)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """`fn` of the arguments, brought to one rank."""
        if isinstance(y_true, torch.Tensor) and isinstance(y_pred, torch.Tensor):
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        else:
            pairs = tree.map_structure(squeeze_or_expand_to_same_rank, y_true, y_pred)
            y_true = tree.map_structure_up_to(y_true, lambda pair: pair[0], pairs)
            y_pred = tree.map_structure_up_to(y_pred, lambda pair: pair[1], pairs)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def _average(self, y_true: Any, y_pred: Any) -> torch.Tensor | None:
        if self._fn_average is None or not isinstance(y_true, torch.Tensor) or not isinstance(y_pred, torch.Tensor):
            return None
        return self._fn_average(*squeeze_or_expand_to_same_rank(y_true, y_pred), **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the function as its serialized form."""
        serialize = serialization.serialize_keras_object
        return super().get_config() | {"fn": serialize(self.fn)} | serialize(self._fn_kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A loss from `get_config`'s result."""
        if "fn" in config:
            config = serialization.deserialize_keras_object(config)
        return cls(**config)

    def __repr__(self) -> str:
        return f"<LossFunctionWrapper({self.fn}, kwargs={self._fn_kwargs})>"


class FunctionLoss(LossFunctionWrapper):
    """Base of the built-in losses: the function is the class's own, its arguments are attributes and configuration.

    Args:
        optional: arguments that the configuration names only where they are not this default.
        **kwargs: further arguments of `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None,
        name: str | None,
        dtype: Any,
        optional: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(fn, reduction=reduction, name=name, dtype=dtype, **kwargs)
        self._optional = optional or {}
        self.__dict__.update(kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Loss.get_config(self) | without_defaults(self._fn_kwargs, self._optional)


def without_defaults(arguments: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """`arguments`, those left out whose default is in `defaults` and is what they are."""
    return {key: value for key, value in arguments.items() if key not in defaults or value != defaults[key]}


def keeps_target_dtype(function: Callable) -> Callable:
    """Marks a loss function whose targets are class numbers: a `Loss` hands them over in their own dtype."""
    function.__dict__["_keeps_target_dtype"] = True
    return function


def average_of(function: Callable) -> Callable[[Callable], Callable]:
    """Registers the decorated function as the mean of `function`'s values; it may return None for "not this way".

    It gets the same arguments, as tensors of the loss's dtype and of one rank.
    """

    def register(average: Callable) -> Callable:
        function.__dict__["_average"] = average
        return average

    return register
