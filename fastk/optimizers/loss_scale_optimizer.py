"""Dynamic loss scaling, for training in float16."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from fastk import serialization
from fastk.distribution import strategies
from fastk.distribution.gradients import averaged_already
from fastk.distribution.sharding import group_of
from fastk.initializers import Constant
from fastk.naming import name_scope
from fastk.optimizers import stateless
from fastk.optimizers.base import Optimizer
from fastk.optimizers.gradients import as_gradient, averaged_over
from fastk.optimizers.plan import tensor_of, tensors
from fastk.scopes import state
from fastk.tensor import to_boundary
from fastk.variable import Variable

# What the inner optimizer does with these, the outer one cannot do again.
_INNER_OPTIONS = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class LossScaleOptimizer(Optimizer):
    """Lets another optimizer work with float16 gradients, by a factor of the loss that it finds by itself.

    The loss is multiplied by a scale before it is differentiated, and gradients are divided by it, so that they do not
    underflow. Where one is infinite or NaN the step is left out and the scale halved; after `dynamic_growth_steps`
    good steps it is doubled.

    Args:
        inner_optimizer: the optimizer; its `loss_scale_factor` is set to None.
        initial_scale: the first scale.
        dynamic_growth_steps: number of good steps after which the scale is doubled.
        name: by default `loss_scale_optimizer`, numbered.

    Source: Micikevicius et al., Mixed Precision Training, 2018.

    >>> import fastk
    >>> optimizer = fastk.optimizers.LossScaleOptimizer(fastk.optimizers.SGD(learning_rate=0.5), initial_scale=4.0)
    >>> w = fastk.Variable([1.0])
    >>> optimizer.apply([fastk.ops.convert_to_tensor([4.0])], [w])
    >>> optimizer.apply([fastk.ops.convert_to_tensor([float("inf")])], [w])
    >>> print(w.numpy(), optimizer.scale_loss(1.0).numpy())
    [0.5] 2.0
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ):
        if not kwargs.pop("dynamic", True):
            raise ValueError(
                "LossScaleOptimizer no longer supports `dynamic=False`. Instead, simply set `loss_scale_factor` "
                "directly on the `inner_optimizer`."
            )
        for option, default in _INNER_OPTIONS.items():
            if kwargs.pop(option, default) != default:
                raise ValueError(
                    f"LossScaleOptimizer does not support `{option}`. Instead, set `{option}` on the `inner_optimizer`."
                )
        if kwargs:
            raise ValueError(f"LossScaleOptimizer does not support arguments: `{'`, `'.join(kwargs)}`.")
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None

    def _create_slots(self, variables: list[Variable]) -> None:
        self.step_counter = self.add_variable((), dtype="int32", name="step_counter")
        self.dynamic_scale = self.add_variable((), Constant(self.initial_scale), dtype="float32", name="dynamic_scale")
        self.inner_optimizer.build(variables)

    @property
    def variables(self) -> list[Variable]:
        """Its own counter, learning rate (unused), step counter and scale, and all of the inner optimizer's."""
        return self._variables + self.inner_optimizer.variables

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Variable] | None = None) -> None:
        """One step from the gradients of the scaled loss; see `Optimizer.apply`."""
        if state.stateless is not None:
            stateless.apply_in_scope(self, grads, trainable_variables)
            return
        if trainable_variables is None:
            variables = self._own_variables(grads)
        else:
            variables = list(trainable_variables)
            if not self.built:
                with name_scope(self.name, caller=self):
                    self.build(variables)
            self._check_variables_are_known(variables)
        with torch.no_grad():
            gradients = [None if g is None else as_gradient(g, v) for g, v in zip(grads, variables, strict=True)]
            group = strategies.active()
            if group is not None:  # before they are looked at: all processes leave the same steps out
                gradients = averaged_over(group, gradients, variables)
            finite = self.check_finite(gradients)
            holders = group_of(variables)
            if holders is not None:  # each process has looked at its parts
                finite = holders.sum_(finite.logical_not().float(), "whether gradients are finite") == 0
            with averaged_already():
                if not finite.is_cpu:
                    self._apply_on_device(gradients, variables, finite)
                elif finite:
                    self.inner_optimizer.apply(self._unscaled(gradients, variables), variables)
            self._adapt(finite)

    def check_finite(self, grads: Sequence[Any]) -> torch.Tensor:
        """Whether no gradient has an infinite or NaN element: a bool tensor without dimensions, on their device."""
        norms = torch._foreach_norm([g for g in grads if g is not None and g.numel()] or [torch.zeros(1)], float("inf"))
        return torch.stack([n.to(norms[0]) for n in norms]).isfinite().all()

    def _unscaled(self, gradients: list[Any], variables: list[Variable]) -> list[Any]:
        chosen = [
            i for i, v in enumerate(variables) if gradients[i] is not None and not v.overwrite_with_gradient
        ]  # fmt: skip
        result = list(gradients)
        if chosen:
            scale = tensor_of(self.dynamic_scale)
            for i, unscaled in zip(chosen, torch._foreach_div([gradients[i] for i in chosen], scale), strict=True):
                result[i] = unscaled
        return result

    def _apply_on_device(self, gradients: list[Any], variables: list[Variable], finite: torch.Tensor) -> None:
        """The inner step, if `finite`, without the host waiting to learn whether it is."""
        if not self.inner_optimizer._apply_scaled(gradients, variables, tensor_of(self.dynamic_scale), finite):
            self._apply_and_undo(self._unscaled(gradients, variables), variables, finite)

    def _apply_and_undo(self, gradients: list[Any], variables: list[Variable], finite: torch.Tensor) -> None:
        """The inner step, taken back where `finite` is false."""
        changing = tensors([*self.inner_optimizer._trainable_variables, *self.inner_optimizer.variables])
        before = [t.clone() for t in changing]
        self.inner_optimizer.apply(gradients, variables)
        for new, old in zip(changing, before, strict=True):
            torch.where(finite, new, old, out=new)

    def _adapt(self, finite: torch.Tensor) -> None:
        steps, scale = tensor_of(self.step_counter), tensor_of(self.dynamic_scale)
        enough = steps == self.dynamic_growth_steps - 1
        scale.mul_(torch.where(finite, torch.where(enough, 2.0, 1.0), 0.5))
        steps.copy_(torch.where(finite & ~enough, steps + 1, 0))

    def scale_loss(self, loss: Any) -> Any:
        """`loss` times the present scale."""
        return to_boundary(loss * (self.dynamic_scale.value if self.built else self.initial_scale))

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The inner optimizer's: steps that were left out do not count."""
        return self.inner_optimizer.iterations

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """The inner optimizer's `exclude_from_weight_decay`."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """The inner optimizer's `finalize_variable_values`."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def _forget_plans(self) -> None:
        super()._forget_plans()
        self.inner_optimizer._forget_plans()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "name": self.name,
            "inner_optimizer": serialization.serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> LossScaleOptimizer:
        """An optimizer from `get_config`'s result, without state."""
        config = dict(config)
        inner = serialization.deserialize_keras_object(config.pop("inner_optimizer"), custom_objects=custom_objects)
        return cls(inner, **config)
