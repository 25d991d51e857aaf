"""Several optimizers, each for some of the variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from fastk import scopes, serialization
from fastk.optimizers import stateless
from fastk.optimizers.base import Optimizer
from fastk.optimizers.loss_scale_optimizer import LossScaleOptimizer
from fastk.optimizers.plan import tensor_of
from fastk.variable import Variable


class OptimizerMap(MutableMapping):
    """Which optimizer a variable gets: by its path, or by a regular expression that matches the whole path.

    Args:
        default_optimizer: for variables that nothing matches.
        optimizer_map: paths or regular expressions, and their optimizers.

    >>> import fastk
    >>> sgd, adam = fastk.optimizers.SGD(), fastk.optimizers.Adam()
    >>> choice = fastk.optimizers.OptimizerMap(adam, {"encoder/.*": sgd})
    >>> choice["encoder/dense/kernel"] is sgd, choice["decoder/dense/kernel"] is adam
    (True, True)
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(f"default_optimizer must be a Keras Optimizer instance. Received: {default_optimizer}")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"optimizer_map must be a dictionary. Received: {optimizer_map}")
        self._default_optimizer = default_optimizer
        self._optimizer_map = optimizer_map or {}

    @property
    def default_optimizer(self) -> Optimizer:
        """For variables that nothing matches."""
        return self._default_optimizer

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._optimizer_map:
            return self._optimizer_map[key]
        matching = [pattern for pattern in self._optimizer_map if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(f"Multiple optimizers assigned to variable {key}: by {' and '.join(map(repr, matching))}.")
        return self._optimizer_map[matching[0]] if matching else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if key in self._optimizer_map:
            raise ValueError(
                f"'{key}' already exists in the OptimizerMap with value {self._optimizer_map[key]}. Please make sure "
                "to not use duplicated keys."
            )
        if not isinstance(key, str):
            raise ValueError(f"key must be a string. Received: {key}")
        _check_inner(optimizer, "optimizer")
        self._optimizer_map[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self._optimizer_map[key]

    def __len__(self) -> int:
        return len(self._optimizer_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizer_map)

    def __call__(self, variable: Variable) -> Optimizer:
        """The optimizer of `variable`."""
        return self[variable.path]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "default_optimizer": serialization.serialize_keras_object(self._default_optimizer),
            "optimizer_map": serialization.serialize_keras_object(self._optimizer_map),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> OptimizerMap:
        """A map from `get_config`'s result."""
        names = ("default_optimizer", "optimizer_map")
        return cls(*(serialization.deserialize_keras_object(config[n], custom_objects=custom_objects) for n in names))


class MultiOptimizer(Optimizer):
    """Leaves each variable to one of several optimizers.

    Args:
        optimizer_map: an `OptimizerMap`, or a callable from a variable to an optimizer.
        loss_scale_factor: of all the optimizers.
        name: by default `multi_optimizer`, numbered.

    >>> import fastk
    >>> kernel, bias = fastk.Variable([1.0], name="kernel"), fastk.Variable([1.0], name="bias")
    >>> choice = fastk.optimizers.OptimizerMap(fastk.optimizers.SGD(0.1), {"bias": fastk.optimizers.SGD(0.5)})
    >>> optimizer = fastk.optimizers.MultiOptimizer(choice)
    >>> optimizer.apply([fastk.ops.convert_to_tensor([1.0]), fastk.ops.convert_to_tensor([1.0])], [kernel, bias])
    >>> print(kernel.numpy(), bias.numpy())
    [0.9] [0.5]
    """

    def __init__(
        self,
        optimizer_map: OptimizerMap | Callable[[Variable], Optimizer],
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ):
        super().__init__(learning_rate=0.0, loss_scale_factor=loss_scale_factor, name=name)
        self._optimizer_map = optimizer_map
        self._inner_optimizers: list[Optimizer] = []
        # Which of them each variable has, in the order of the variables.
        self._places: list[int] = []
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map.values(), optimizer_map.default_optimizer):
                self._place_of(optimizer)

    def _place_of(self, optimizer: Optimizer) -> int:
        for i, known in enumerate(self._inner_optimizers):
            if known is optimizer:
                return i
        optimizer.loss_scale_factor = self.loss_scale_factor
        self._inner_optimizers.append(optimizer)
        return len(self._inner_optimizers) - 1

    def _create_slots(self, variables: list[Variable]) -> None:
        for variable in variables:
            optimizer = self._optimizer_map(variable)
            _check_inner(optimizer, f"Optimizer for variable {variable.path}")
            self._places.append(self._place_of(optimizer))
        for optimizer, own in zip(self._inner_optimizers, self._divided(variables, variables), strict=True):
            if own:
                optimizer.build(own)

    def _divided(self, items: Sequence[Any], variables: Sequence[Variable]) -> list[list[Any]]:
        """For each optimizer those of `items`, one a variable, that it gets."""
        parts: list[list[Any]] = [[] for _ in self._inner_optimizers]
        for item, variable in zip(items, variables, strict=True):
            parts[self._places[self._get_variable_index(variable)]].append(item)
        return parts

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers, in the order that they were met."""
        return self._inner_optimizers

    @property
    def variables(self) -> list[Variable]:
        """Its own counter and learning rate (unused), and the variables of each optimizer."""
        return self._variables + [v for optimizer in self._inner_optimizers for v in optimizer.variables]

    @property
    def learning_rate(self) -> Any:
        """There is none: each optimizer has its own."""
        raise AttributeError(
            "Learning rate cannot be accessed on a MultiOptimizer. Access the learning rate on the individual "
            "sub-optimizers instead, in `optimizer.optimizers`."
        )

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        raise AttributeError(
            "Learning rate cannot be set on a MultiOptimizer. Set the learning rate on the individual sub-optimizers "
            "instead, in `optimizer.optimizers`."
        )

    @property
    def loss_scale_factor(self) -> float | None:
        """Factor of the loss, which all the optimizers take out of the gradients."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for optimizer in self.__dict__.get("_inner_optimizers", ()):
            optimizer.loss_scale_factor = value

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Variable] | None = None) -> None:
        """One step of each optimizer; see `Optimizer.apply`."""
        if len(grads) == 0:
            return
        if scopes.state.stateless is not None:
            stateless.apply_in_scope(self, grads, trainable_variables)
            return
        variables = self._own_variables(grads) if trainable_variables is None else list(trainable_variables)
        if not self.built:
            self.build(variables)
        if len(grads) != len(variables):
            raise ValueError(
                f"Gradients must match trainable variables one-to-one. Received {len(grads)} gradients and "
                f"{len(variables)} variables."
            )
        self._check_variables_are_known(variables)
        parts = zip(self._divided(grads, variables), self._divided(variables, variables), strict=True)
        for optimizer, (gradients, own) in zip(self._inner_optimizers, parts, strict=True):
            if own:
                optimizer.apply(gradients, own)
        self._counter.advance(tensor_of(self._iterations))

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """`exclude_from_weight_decay` of each optimizer."""
        variables, names = list(var_list or ()), list(var_names or ())
        for optimizer in self._inner_optimizers:
            optimizer.exclude_from_weight_decay(variables, names)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """`finalize_variable_values` of each optimizer."""
        for optimizer, own in zip(self._inner_optimizers, self._divided(var_list, var_list), strict=True):
            if own:
                optimizer.finalize_variable_values(own)

    def _forget_plans(self) -> None:
        super()._forget_plans()
        for optimizer in self._inner_optimizers:
            optimizer._forget_plans()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "optimizer_map": serialization.serialize_keras_object(self._optimizer_map),
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> MultiOptimizer:
        """An optimizer from `get_config`'s result, without state."""
        optimizer_map = serialization.deserialize_keras_object(config["optimizer_map"], custom_objects=custom_objects)
        return cls(**{**config, "optimizer_map": optimizer_map})


def _check_inner(optimizer: Any, what: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"{what} must be a Keras Optimizer instance. Received: {optimizer}")
    for cls in (LossScaleOptimizer, MultiOptimizer):
        if isinstance(optimizer, cls):
            raise ValueError(f"{what} cannot be {cls.__name__}: those hold optimizers, and are not held.")
