"""`Optimizer`: Keras's interface around steps that take all variables at once.

A step is: gradients unscaled, accumulated, clipped; weights decayed; the update; moving averages; constraints.
An optimizer of fastk states its slots in `_create_slots` and its update in `_update_tensors`, over lists of tensors.
A user's optimizer may override Keras's `update_step` instead, which is then called variable by variable.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from fastk import scopes, serialization
from fastk.autograd import StepOptions
from fastk.distribution import sharding, strategies
from fastk.errors import did_you_mean
from fastk.naming import auto_name, name_scope
from fastk.optimizers import gradients as clipping
from fastk.optimizers import stateless
from fastk.optimizers.hyperparameters import HyperParameter, LearningRate
from fastk.optimizers.plan import Group, Plan, Tensors, tensor_of, tensors
from fastk.optimizers.schedules import LearningRateSchedule
from fastk.optimizers.state import OptimizerState
from fastk.tensor import to_boundary
from fastk.user_warning import warn_user
from fastk.variable import Variable

Rate = float | torch.Tensor
Step = int | torch.Tensor
LearningRateLike = float | LearningRateSchedule | Callable[[], Any]
_OPTIONS = (
    "weight_decay",
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


class Scaling(NamedTuple):
    """What gradients are divided by, and where it is known whether one was infinite or NaN: not 0 if so."""

    factor: torch.Tensor | float | None
    found_inf: torch.Tensor | None


class Optimizer(OptimizerState):
    """The base of optimizers.

    Args:
        learning_rate: a float, a `LearningRateSchedule`, or a callable without arguments.
        weight_decay: the fraction of each weight, times the learning rate, taken off before an update.
        clipnorm: largest L2 norm of each variable's gradient.
        clipvalue: largest absolute value of a gradient's element.
        global_clipnorm: largest L2 norm of all gradients taken together. At most one of the three can be set.
        use_ema: keep an exponential moving average of the weights, which `finalize_variable_values` moves into them.
        ema_momentum: the weight, in [0, 1], of the old average in the new one.
        ema_overwrite_frequency: after every so many steps the weights become their averages; None: only at the end.
        loss_scale_factor: factor of the loss (see `scale_loss`), taken out of the gradients again.
        gradient_accumulation_steps: number of steps, at least 2, whose mean gradient makes one update.
        name: by default the class's in snake case, numbered.

    Example, an optimizer of one's own:

    >>> import fastk
    >>> class SignDescent(fastk.optimizers.Optimizer):
    ...     def update_step(self, gradient, variable, learning_rate):
    ...         self.assign_sub(variable, learning_rate * gradient.sign())
    >>> v = fastk.Variable([1.0, 2.0])
    >>> SignDescent(learning_rate=0.5).apply([fastk.ops.convert_to_tensor([3.0, -4.0])], [v])
    >>> v.numpy()
    array([0.5, 2.5], dtype=float32)
    """

    # Whether `update_step` is a user's, to be called for each variable.
    _per_variable = False
    # Whether each element of a variable is treated by itself, so that a process may hold a part of it alone.
    _is_elementwise = True
    # Whether `_update_tensors` takes `StepOptions` last, and then clips gradients and decays weights itself.
    _takes_options = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._per_variable = cls.update_step is not Optimizer.update_step

    def __init__(
        self,
        learning_rate: LearningRateLike,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__()
        if kwargs.pop("decay", None) is not None:
            warn_user(
                "Argument `decay` is no longer supported and will be ignored. "
                "Pass a schedule as `learning_rate`, such as `keras.optimizers.schedules.InverseTimeDecay`."
            )
        if kwargs:
            known = {"learning_rate", *_OPTIONS, *inspect.signature(type(self)).parameters} - {"kwargs"}
            hint = " Did you mean `learning_rate`?" if "lr" in kwargs else did_you_mean(kwargs, known)
            raise ValueError(f"Argument(s) not recognized: {kwargs}.{hint}")
        self.name = name or auto_name(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self._check_arguments()
        self.built = False
        with name_scope(self.name, caller=self):
            self._iterations = Variable(
                0, name="iteration", dtype="int32", trainable=False, aggregation="only_first_replica"
            )
        self._learning_rate: Any = self._first_learning_rate(learning_rate)

    def _check_arguments(self) -> None:
        steps = self.gradient_accumulation_steps
        if steps and not steps >= 2:
            raise ValueError(
                "`gradient_accumulation_steps` must be an integer >= 2. Received: "
                f"gradient_accumulation_steps={steps}"
            )  # fmt: skip
        if self.use_ema:
            frequency = self.ema_overwrite_frequency
            if not 0 <= self.ema_momentum <= 1:
                raise ValueError(
                    f"`ema_momentum` must be in the range [0, 1]. Received: ema_momentum={self.ema_momentum}"
                )
            if frequency and (not isinstance(frequency, int) or frequency < 1):
                raise ValueError(
                    "`ema_overwrite_frequency` must be an integer >= 1 or None. "
                    f"Received: ema_overwrite_frequency={frequency}"
                )
        limits = {name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
        if sum(limit is not None for limit in limits.values()) > 1:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: "
                + ", ".join(f"{name}={limit}" for name, limit in limits.items())
            )

    def _first_learning_rate(self, learning_rate: Any) -> Any:
        if callable(learning_rate):  # schedules among them
            return learning_rate
        if not isinstance(learning_rate, float):
            raise ValueError(
                "Argument `learning_rate` should be float, or an instance of LearningRateSchedule, or a callable (that "
                "takes in the current iteration value and returns the corresponding learning rate value). "
                f"Received instead: learning_rate={learning_rate}"
            )
        return LearningRate(learning_rate, self.name, caller=self)

    # ------------------------------------------------------------ what a subclass states

    def _weight_decay_of(self, group: Group) -> float | None:
        """The weight decay of a group's variables."""
        return self.weight_decay

    def _begin_update(self, step: Step) -> None:
        """Called once before each update, for state that the variables share."""

    def _update_tensors(
        self,
        parameters: Tensors,
        gradients: Tensors,
        slots: list[Tensors],
        learning_rate: Rate,
        step: Step,
        options: StepOptions | None = None,
    ) -> None:
        """Moves `parameters` and `slots` in place.

        Args:
            parameters: values of variables of one dtype on one device.
            gradients: one for each parameter, of its shape and dtype; they belong to the caller.
            slots: for each list that `add_optimizer_variables` made, in that order, the values for these variables.
            learning_rate: a float on the CPU; elsewhere a tensor without dimensions, which is not to be read.
            step: the number of this update, counted from 1; an int on the CPU, elsewhere an integer tensor.
            options: what to do before; passed where `_takes_options` says that it is taken.
        """
        raise NotImplementedError(
            f"The optimizer {type(self).__name__} has no update: override "
            "`update_step(gradient, variable, learning_rate)`."
        )

    @torch.no_grad()
    def update_step(self, gradient: torch.Tensor, variable: Variable, learning_rate: Any) -> None:
        """Updates one variable; an optimizer that overrides it has it called for each variable in turn.

        Args:
            gradient: of the variable's shape and dtype.
            variable: to be changed by `assign`, `assign_add`, `assign_sub`.
            learning_rate: the `learning_rate` property's value.
        """
        index = self._get_variable_index(variable)
        slots = [tensors([slot[index]]) for slot in self._slots]
        self._update_tensors([tensor_of(variable)], [gradient], slots, as_rate(learning_rate), self._step())

    # ------------------------------------------------------------ the step

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> Variable:
        """One step from `(gradient, variable)` pairs; the first call builds the optimizer. Returns `iterations`."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Variable] | None = None) -> None:
        """One step.

        Args:
            grads: one gradient for each variable, of its shape; None where a variable is to be left alone.
            trainable_variables: the variables, by default those that the optimizer was built with, in that order.

        Raises:
            ValueError: no gradient at all, variables that the optimizer was not built with, or a wrong shape.
        """
        if len(grads) == 0:
            return
        if scopes.state.stateless is not None:
            stateless.apply_in_scope(self, grads, trainable_variables)
            return
        with torch.no_grad():
            group = strategies.active()
            if group is not None:
                trainable_variables = list(
                    self._own_variables(grads) if trainable_variables is None else trainable_variables
                )
                grads = clipping.averaged_over(group, grads, trainable_variables)
            plan, gradients = self._selected(grads, trainable_variables)
            if plan.updated:
                self._step_of(plan, gradients)
            self._counter.advance(tensor_of(self._iterations))

    def _step_of(self, plan: Plan, gradients: Tensors) -> None:
        """What `apply` does for the variables that do not just take their gradient as their value."""
        factor = self.loss_scale_factor
        scaling = None if factor is None else Scaling(factor, None)
        if factor is not None and not self._unscales(plan):
            gradients, scaling = list(torch._foreach_div(gradients, factor)), None
        if self.gradient_accumulation_steps and self._accumulates_on_device(plan):
            self._accumulate_on_device(plan, gradients)
        else:
            mean = self._accumulated(plan, gradients) if self.gradient_accumulation_steps else gradients
            if mean is not None:
                self._update(plan, mean, scaling)
        if self.use_ema:
            self._update_averages(plan)
        for variable in plan.constrained:
            variable.assign(variable.constraint(variable))

    def _selected(self, grads: Sequence[Any], variables: Iterable[Variable] | None) -> tuple[Plan, Tensors]:
        """The plan for the variables that have a gradient, and those gradients."""
        own, whole = self._trainable_variables, self._whole
        if variables is not None:
            variables = list(variables)
            if len(variables) == len(own) and all(map(operator.is_, variables, own)):
                variables = None
        taken = whole.taken(grads) if variables is None and whole is not None else None
        return self._select(grads, variables) if taken is None or whole is None else (whole, taken)

    def _select(self, grads: Sequence[Any], variables: list[Variable] | None) -> tuple[Plan, Tensors]:
        if variables is None:
            variables = self._own_variables(grads)
        elif not self.built:
            with name_scope(self.name, caller=self):
                self.build(variables)
            self.built = True
        if len(grads) != len(variables):
            raise ValueError(
                f"Received {len(grads)} gradients for {len(variables)} variables: they must match one to one."
            )
        self._check_variables_are_known(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if not pairs:
            raise ValueError("No gradients provided for any variable.")
        if len(pairs) < len(variables):
            missing = [v.path for g, v in zip(grads, variables, strict=True) if g is None]
            warn_user(
                f"Gradients do not exist for variables {missing} when minimizing the loss. If using `model.compile()`, "
                "did you forget to provide a `loss` argument?"
            )
        indices = tuple(self._get_variable_index(v) for _, v in pairs)
        plan = self._plans.get(indices)
        if plan is None:
            plan = self._plans[indices] = Plan(self, indices)
            if indices == tuple(range(len(self._trainable_variables))) and not plan.overwritten:
                self._whole = plan
        gradients = [clipping.as_gradient(g, v) for g, v in pairs]
        if plan.kept is not None:
            self._overwrite(plan, gradients)
            gradients = [gradients[i] for i in plan.kept]
        return plan, gradients

    def _own_variables(self, grads: Sequence[Any]) -> list[Variable]:
        if not self.built:
            raise ValueError(
                "When passing `grads` without `variables`, the optimizer must already be built on a list of variables. "
                "Call `optimizer.build(trainable_variables)` first."
            )
        if len(grads) != len(self._trainable_variables):
            raise ValueError(
                "When passing `grads` as a list of gradient tensors, the gradients must match the variables that the "
                f"optimizer was built with one to one. Received a list of {len(grads)} gradients, but the optimizer is "
                f"tracking {len(self._trainable_variables)} trainable variables."
            )
        return self._trainable_variables

    def _overwrite(self, plan: Plan, gradients: Tensors) -> None:
        """Variables such as float8 scales take their gradient as their value; accumulated, the largest one."""
        steps, now = self.gradient_accumulation_steps, self._accumulation_ends()
        for position, variable in plan.overwritten:
            value = gradients[position]
            if steps:
                accumulator = self._accumulated_gradients[self._get_variable_index(variable)]
                value = torch.maximum(value, tensor_of(accumulator))
                accumulator.assign(torch.zeros_like(value) if now else value)
            if now:
                variable.assign(value)

    def _accumulation_ends(self) -> bool:
        steps = self.gradient_accumulation_steps
        return not steps or (self._host_iterations() + 1) % steps == 0

    def _accumulated(self, plan: Plan, gradients: Tensors) -> Tensors | None:
        """The mean gradient where it is time to use it."""
        if not self._accumulation_ends():
            torch._foreach_add_(plan.accumulators, gradients)
            return None
        mean = list(torch._foreach_add(gradients, plan.accumulators))
        torch._foreach_div_(mean, float(self.gradient_accumulation_steps or 1))
        torch._foreach_zero_(plan.all_accumulators)
        return mean

    def _accumulates_on_device(self, plan: Plan) -> bool:
        """Whether the device tells when it is time for the mean gradient, so that a step does not wait for it.

        It does where the update can be left out as a whole: one kernel that is told so.
        """
        shares_state = type(self)._begin_update is not Optimizer._begin_update
        return self._is_one_pass(plan) and not (shares_state or plan.overwritten or tensor_of(self._iterations).is_cpu)

    def _accumulate_on_device(self, plan: Plan, gradients: Tensors) -> None:
        """As with `_accumulated`, but that the update is always called, and does nothing until it is time."""
        steps = self.gradient_accumulation_steps or 1
        is_time = (tensor_of(self._iterations) + 1) % steps == 0
        torch._foreach_add_(plan.accumulators, gradients)
        mean = list(torch._foreach_div(plan.accumulators, float(steps)))
        self._update(plan, mean, Scaling(None, is_time.logical_not()))
        for accumulator in plan.all_accumulators:
            accumulator.masked_fill_(is_time, 0.0)  # also what is infinite or NaN

    def _is_one_pass(self, plan: Plan) -> bool:
        return self._takes_options and not self._per_variable and len(plan.groups) == 1

    def _unscales(self, plan: Plan) -> bool:
        """Whether the update divides the gradients by a loss scale in the same pass."""
        return self._is_one_pass(plan) and not self.gradient_accumulation_steps and plan.parts_in is None

    def _apply_scaled(
        self, grads: Sequence[Any], variables: list[Variable], scale: torch.Tensor, finite: torch.Tensor
    ) -> bool:
        """One step from gradients times `scale`, or none where `finite` is false, without the host learning which.

        Returns False, having done nothing, where that takes more than the update.
        """
        if self.use_ema or self.loss_scale_factor is not None:
            return False
        plan, gradients = self._selected(grads, variables)
        if plan.overwritten or plan.constrained or not self._unscales(plan):
            return False
        self._update(plan, gradients, Scaling(scale, finite.logical_not()))
        tensor_of(self._iterations).add_(finite)
        return True

    def _update(self, plan: Plan, gradients: Tensors, scaling: Scaling | None = None) -> None:
        rate, step = self._current_rate(), self._step()
        clipnorm, global_limit = self.clipnorm, self.global_clipnorm
        if plan.parts_in is not None and (clipnorm or global_limit):
            gradients = sharding.clipped(gradients, plan.updated, clipnorm, global_limit)
            clipnorm = global_limit = None
        if self._takes_options and not self._per_variable:
            self._begin_update(step)
            if global_limit and len(plan.groups) > 1:  # a norm over several calls
                gradients, global_limit = clipping.clip_by_global_norm(gradients, global_limit), None
            for group in plan.groups:
                options = self._options_of(group, clipnorm, global_limit, scaling)
                self._update_tensors(group.parameters, group.chosen(gradients), group.slots, rate, step, options)
            return
        gradients = self._clip_gradients(gradients, clipnorm, global_limit)
        for group in plan.groups:
            decay = self._weight_decay_of(group)
            if decay is not None and group.decayed:
                torch._foreach_mul_(group.decayed, 1 - decay * rate)
        self._begin_update(step)
        if self._per_variable:
            learning_rate = self.learning_rate
            for gradient, variable in zip(gradients, plan.updated, strict=True):
                self.update_step(gradient, variable, learning_rate)
            return
        for group in plan.groups:
            self._update_tensors(group.parameters, group.chosen(gradients), group.slots, rate, step)

    def _options_of(
        self, group: Group, clipnorm: float | None, global_limit: float | None, scaling: Scaling | None
    ) -> StepOptions | None:
        """What `_update_tensors` is to do before the update of a group."""
        decay = (self._weight_decay_of(group) or 0.0) if group.decayed else 0.0
        if not (decay or self.clipvalue or clipnorm or global_limit or scaling):
            return None
        scale, found_inf = scaling or (None, None)
        return StepOptions(
            decay, group.are_decayed, self.clipvalue, clipnorm, global_limit, scale, found_inf
        )  # fmt: skip

    def _clip_gradients(self, grads: Tensors, clipnorm: float | None, global_clipnorm: float | None) -> Tensors:
        if clipnorm:
            return clipping.clip_by_norm(grads, clipnorm)
        if global_clipnorm:
            return clipping.clip_by_global_norm(grads, global_clipnorm)
        if self.clipvalue:
            return clipping.clip_by_value(grads, self.clipvalue)
        return grads

    def _update_averages(self, plan: Plan) -> None:
        """average = momentum * average + (1 - momentum) * variable, where the first average is the variable itself."""
        weight: Any = 1.0 - self.ema_momentum * (self._step() != 1)
        weights = weight if isinstance(weight, float) else [weight.to(a.dtype) for a in plan.averages]
        torch._foreach_lerp_(plan.averages, plan.averaged, weights)
        frequency = self.ema_overwrite_frequency
        if frequency and (self._host_iterations() // (self.gradient_accumulation_steps or 1) + 1) % frequency == 0:
            torch._foreach_copy_(plan.averaged, plan.averages)

    # ------------------------------------------------------------ scalars of the step

    def _current_rate(self) -> Rate:
        rate = self._learning_rate
        if not isinstance(rate, Variable):
            with scopes.internal():  # a tensor for the kernels, not for the user
                rate = rate(self._iterations) if isinstance(rate, LearningRateSchedule) else rate()
        return as_rate(rate)

    def _step(self) -> Step:
        """The number of this update, counted from 1."""
        count = tensor_of(self._iterations)
        count = int(count) if count.is_cpu else count
        if self.gradient_accumulation_steps:
            count = count // self.gradient_accumulation_steps
        return count + 1

    def _host_iterations(self) -> int:
        """How many steps were made, known without waiting for the device."""
        return self._counter.read(tensor_of(self._iterations))

    @property
    def iterations(self) -> Any:
        """How many updates were made: a variable, or with gradient accumulation a tensor."""
        if self.gradient_accumulation_steps:
            return to_boundary(self._iterations.value // self.gradient_accumulation_steps)
        return self._iterations

    @property
    def learning_rate(self) -> Any:
        """The learning rate: a variable; with a schedule or callable, its present value.

        Assign a number, a schedule or a callable to change it.
        """
        rate = self._learning_rate
        if isinstance(rate, Variable):
            return rate
        return to_boundary(rate(self._iterations) if isinstance(rate, LearningRateSchedule) else rate())

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        before = self._learning_rate
        if callable(learning_rate):
            self._learning_rate = learning_rate
            if isinstance(before, Variable):
                self._untrack(before)
        elif isinstance(before, Variable):
            before.assign(learning_rate)
        else:
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object or a callable as its `learning_rate` "
                "constructor argument, hence its learning rate is not settable. If you need the learning rate to be "
                "settable, you should instantiate the optimizer with a float `learning_rate` argument."
            )

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[Tensors, Tensors]:
        """`apply` on values instead of variables: returns the trainable variables' new values, and the optimizer's.

        Args:
            optimizer_variables: the values to take for `variables`.
            grads: one gradient for each trainable variable.
            trainable_variables: the values to take for the variables that the optimizer was built with.
        """
        return stateless.stateless_apply(self, optimizer_variables, grads, trainable_variables)

    def scale_loss(self, loss: Any) -> Any:
        """`loss` times `loss_scale_factor`, to be differentiated in its place: small gradients do not underflow."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # ------------------------------------------------------------ configuration

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        rate = self._learning_rate
        if isinstance(rate, (Variable, torch.Tensor)):
            rate = float(rate)
        config = {"name": self.name, "learning_rate": serialization.serialize_keras_object(rate)}
        for name in (*_OPTIONS, *self.hyperparameters):
            value = getattr(self, name)
            config[name] = float(value) if isinstance(value, HyperParameter) else value
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        """An optimizer from `get_config`'s result, without state."""
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = serialization.deserialize_keras_object(
                config["learning_rate"], custom_objects=custom_objects
            )
        return cls(**config)


def as_rate(learning_rate: Any) -> Rate:
    """A learning rate as kernels take it: a float where reading it costs nothing, else a tensor on its device."""
    rate = tensor_of(learning_rate) if isinstance(learning_rate, Variable) else learning_rate
    return rate.item() if isinstance(rate, torch.Tensor) and rate.is_cpu else rate
