"""An optimizer of fastk's that moves the variables, and keeps the state, of one of Keras's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from fastk import naming, optimizers, serialization
from fastk.capture import host_call
from fastk.device import device_scope
from fastk.integrations.keras.sharing import Unlike, share, shared
from fastk.training.trainer import decides_on_host
from fastk.variable import Variable

# Keras 3.15 on torch reads `momentum` after it has written it: its steps are not those of the other backends.
_UNLIKE = {"ScheduleFreeAdamW": "Keras's steps are others on torch than on its other backends"}
_THEIRS = ("keras.src.optimizers.", "keras.src.backend.torch.optimizers.")


class OptimizerTwin:
    """Keras's optimizer, whose `apply` is fastk's on the same tensors.

    Args:
        keras: the module.
        theirs: the optimizer, built.

    Raises:
        Unlike: there is none like it in fastk; the message says why.
    """

    def __init__(self, keras: Any, theirs: Any):
        self.theirs = theirs
        trained = list(theirs._trainable_variables)
        if not theirs.built or not trained:
            raise Unlike("it is not built yet")
        self._variables = {id(v): shared(v) for v in trained}
        self._yours = {id(self._variables[id(v)]): v for v in trained}
        with naming.passing_names(), device_scope(trained[0]._value.device):
            self.own = self._made(keras, theirs)
            self.own.build([self._variables[id(v)] for v in trained])
        if len(self.own.variables) != len(theirs.variables):
            raise Unlike(f"it has {len(theirs.variables)} variables in Keras, and {len(self.own.variables)} in fastk")
        for mine, yours in zip(self.own.variables, theirs.variables, strict=True):
            share(mine, yours)
        self.own._forget_plans()

    def _made(self, keras: Any, theirs: Any) -> Any:
        kind = type(theirs)
        cls = getattr(optimizers, kind.__name__, None)
        if not kind.__module__.startswith(_THEIRS) or cls is None:
            raise Unlike(f"{kind.__name__} is the user's own")
        if kind.__name__ in _UNLIKE:
            raise Unlike(_UNLIKE[kind.__name__])
        if kind.__name__ == "LossScaleOptimizer":
            scales = {name: getattr(theirs, name) for name in ("initial_scale", "dynamic_growth_steps")}
            return cls(self._made(keras, theirs.inner_optimizer), **scales)
        rate = theirs._learning_rate
        own = cls.from_config({**theirs.get_config(), "learning_rate": 0.001} if _is_number(keras, rate) else
                              {**_without_rate(theirs), "learning_rate": _rate_of(keras, theirs)})  # fmt: skip
        own._use_weight_decay = lambda variable: theirs._use_weight_decay(self._yours[id(variable)])
        return own

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """What Keras's `apply` does."""
        given = self.theirs._trainable_variables if trainable_variables is None else list(trainable_variables)
        own = [self._variables[id(v)] for v in given if id(v) in self._variables]
        if len(own) != len(given) or len(own) != len(grads):
            type(self.theirs).apply(self.theirs, grads, trainable_variables)  # raises what Keras raises
            return
        gradients = list(grads)
        if any(g is not None and g.is_cpu for g in gradients) or decides_on_host(self.own):
            host_call(self._apply, gradients, own)
        else:
            self._apply(gradients, own)

    def _apply(self, gradients: list[Any], variables: list[Variable]) -> None:
        with torch.no_grad():
            self.own.apply(gradients, variables)


class AsInKeras:
    """Keras's own `apply`, called at each step: of an optimizer that fastk has no twin of."""

    def __init__(self, theirs: Any):
        self.theirs = theirs

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """Calls it; a replay calls it again."""
        variables = None if trainable_variables is None else list(trainable_variables)
        host_call(self._apply, list(grads), variables)

    def _apply(self, gradients: list[Any], variables: list[Any] | None) -> None:
        with torch.no_grad():
            type(self.theirs).apply(self.theirs, gradients, variables)


def _is_number(keras: Any, rate: Any) -> bool:
    return isinstance(rate, keras.Variable)


def _without_rate(theirs: Any) -> dict[str, Any]:
    """The configuration of an optimizer whose rate may have none."""
    rate = theirs._learning_rate
    theirs.__dict__["_learning_rate"] = 0.001
    try:
        return theirs.get_config()
    finally:
        theirs.__dict__["_learning_rate"] = rate


def _rate_of(keras: Any, theirs: Any) -> Any:
    """A schedule of fastk's for one of Keras's; a function that asks Keras for what the user wrote."""
    rate = theirs._learning_rate
    if type(rate).__module__.startswith("keras.src.optimizers.schedules."):
        return serialization.deserialize_keras_object(keras.saving.serialize_keras_object(rate))

    def ask() -> float:
        return float(keras.ops.convert_to_numpy(theirs._get_current_learning_rate()))

    return ask
