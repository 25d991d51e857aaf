"""What an optimizer remembers: its variables, in Keras's order and under Keras's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fastk import initializers
from fastk.device import device_scope
from fastk.distribution.sharding import ShardedVariable, shard_like
from fastk.naming import name_scope
from fastk.optimizers.hyperparameters import HyperParameter
from fastk.optimizers.plan import Plan, laid_out, tensor_of
from fastk.user_warning import warn_user
from fastk.variable import Variable


class StepCounter:
    """`iterations` as the host knows it, so that nothing waits for the device to learn whose turn it is.

    The device is asked only after somebody else wrote the variable, which its tensor's version number tells.
    """

    __slots__ = ("count", "version")

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Has the next `read` ask the device."""
        self.count, self.version = 0, -1

    def read(self, value: torch.Tensor) -> int:
        """The count that `value` holds."""
        if value._version != self.version:
            self.count, self.version = int(value), value._version
        return self.count

    def advance(self, value: torch.Tensor) -> None:
        """Adds one, to `value` too."""
        known = value._version == self.version
        if value.is_cpu:
            value.fill_(value.item() + 1)  # a quarter of the time of add_
        else:
            value.add_(1)
        if known:
            self.count, self.version = self.count + 1, value._version


# Lists of variables that are not the optimizer's state; those in other attributes are.
_NOT_OWN = ("_variables", "_trainable_variables", "_undecayed")


class OptimizerState:
    """Variables of an optimizer: making, finding, saving and loading them. The base of `Optimizer`."""

    # The arguments that a subclass adds: written to its configuration, and where they are floats, `HyperParameter`s.
    hyperparameters: tuple[str, ...] = ()

    name: str
    built: bool
    use_ema: bool
    gradient_accumulation_steps: int | None
    _iterations: Variable

    def __init__(self):
        self._variables: list[Variable] = []
        self._trainable_variables: list[Variable] = []
        self._indices: dict[int, int] = {}
        # One list of variables for each kind of slot, with None for those that have none.
        self._slots: list[list[Variable | None]] = []
        self._model_variables_moving_average: list[Variable | None] = []
        self._accumulated_gradients: list[Variable] = []
        self._undecayed: list[Variable] = []
        self._undecayed_names: re.Pattern | None = None
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._whole: Plan | None = None
        self._counter = StepCounter()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NOT_OWN:
            super().__setattr__(name, value)
            return
        if "_variables" not in self.__dict__:
            raise RuntimeError(
                f"In optimizer '{type(self).__name__}', you forgot to call `super().__init__()` as the first statement "
                "in the `__init__()` method. Go add it!"
            )
        if isinstance(value, float) and name in self.hyperparameters:
            value = HyperParameter(value)
        elif isinstance(value, Variable):
            self._track(value)
        elif isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, Variable):
                    self._track(item)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        # Plans and indices hold the identity of tensors and variables: a copy has its own.
        return {**self.__dict__, "_plans": {}, "_whole": None, "_indices": None, "_counter": StepCounter()}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self._index()

    def _index(self) -> None:
        self._indices = {id(v): i for i, v in enumerate(self._trainable_variables)}

    # ------------------------------------------------------------ making variables

    def build(self, variables: Sequence[Variable]) -> None:
        """Makes the state for `variables`; does nothing where it was made before."""
        if self.built:
            return
        variables = list(variables)
        if self.use_ema:
            self._model_variables_moving_average = self._make_variables(variables, ["average"])[0]
        if self.gradient_accumulation_steps:
            self._accumulated_gradients = [
                self.add_variable_from_reference(v, name="gradient_accumulator") for v in variables
            ]
        self._trainable_variables = variables
        self._index()
        self._create_slots(variables)
        self.built = True

    def _create_slots(self, variables: list[Variable]) -> None:
        """Makes the state of each variable; called once, by `build`."""

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str | None = "none",
        layout: None = None,
        name: str | None = None,
    ) -> Variable:
        """A variable of the optimizer.

        Args:
            shape: its shape.
            initializer: a callable `(shape, dtype) -> tensor`, or the name of one.
            dtype: by default `floatx()`.
            aggregation: how replicas combine it.
            layout: only None; variables are not sharded.
            name: one path element, below the optimizer's name.
        """
        if layout is not None:
            raise ValueError(
                f"Sharded optimizer variables are not supported: `layout` must be None. Received: {layout!r}"
            )
        with name_scope(self.name, caller=self):
            variable = Variable(
                initializers.get(initializer),
                shape=shape,
                dtype=dtype,
                trainable=False,
                aggregation=aggregation,
                name=name,
            )
        self._track(variable)
        return variable

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """A variable of the shape, dtype and device of `reference_variable`, named `<its path>_<name>`."""
        path = reference_variable.path.replace("/", "_")
        with device_scope(reference_variable.device):
            made = self.add_variable(
                reference_variable.shape, initializer, dtype=reference_variable.dtype, name=f"{path}_{name or 'var'}"
            )
        if isinstance(reference_variable, ShardedVariable):
            shard_like(made, reference_variable)
            return made
        # Kernels walk through parameters and slots side by side: the layout, too, has to be the same.
        value = tensor_of(made)
        value.data = laid_out(value.data, tensor_of(reference_variable).stride())
        return made

    def add_optimizer_variables(
        self, trainable_variables: Iterable[Variable], name: str | Sequence[str], initializer: Any = "zeros"
    ) -> Any:
        """One variable for each of `trainable_variables` and each name, made variable by variable.

        Args:
            trainable_variables: the model's variables.
            name: ends the new variables' names; or several such names.
            initializer: for all of them, or one for each name.

        Returns:
            A list of variables, or for several names a tuple of lists. None stands for variables that are
            overwritten with their gradient.
        """
        names = [name] if isinstance(name, str) else list(name)
        lists = self._make_variables(trainable_variables, names, initializer)
        self._slots.extend(lists)
        return lists[0] if isinstance(name, str) else tuple(lists)

    def _make_variables(
        self, variables: Iterable[Variable], names: list[str], initializer: Any = "zeros"
    ) -> list[list[Variable | None]]:
        firsts = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        if len(names) != len(firsts):
            raise ValueError(
                "The number of provided names must match the number of provided initializers. "
                f"Received name='{names}', initializer='{initializer}'"
            )
        lists: list[list[Variable | None]] = [[] for _ in names]
        for variable in variables:
            for made, name, first in zip(lists, names, firsts, strict=True):
                exempt = variable.overwrite_with_gradient
                made.append(None if exempt else self.add_variable_from_reference(variable, name, first))
        return lists

    def _track(self, variable: Variable) -> None:
        if not any(v is variable for v in self._variables):
            self._variables.append(variable)

    def _untrack(self, variable: Variable) -> None:
        self._variables = [v for v in self._variables if v is not variable]

    # ------------------------------------------------------------ finding and changing them

    @property
    def variables(self) -> list[Variable]:
        """The counter, the learning rate unless it is a schedule, moving averages, gradient accumulators, the slots."""
        return self._variables[:]

    def _get_variable_index(self, variable: Variable) -> int:
        return self._indices[id(variable)]

    def _check_variables_are_known(self, variables: Iterable[Variable]) -> None:
        for v in variables:
            if id(v) not in self._indices:
                raise ValueError(
                    f"Unknown variable: {v}. This optimizer can only be called for the variables it was originally "
                    "built with. When working with a new set of variables, you should recreate a new optimizer "
                    "instance."
                )

    def assign(self, variable: Variable, value: Any) -> None:
        """Writes `value` into `variable`."""
        variable.assign(value)

    def assign_add(self, variable: Variable, value: Any) -> None:
        """Adds `value` to `variable`."""
        variable.assign_add(value)

    def assign_sub(self, variable: Variable, value: Any) -> None:
        """Subtracts `value` from `variable`."""
        variable.assign_sub(value)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Exempts variables from weight decay: those given, and those whose name a regular expression is found in.

        >>> import fastk
        >>> optimizer = fastk.optimizers.AdamW()
        >>> optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        """
        names = list(var_names or ())
        self._undecayed = list(var_list or ())
        self._undecayed_names = re.compile("|".join(names)) if names else None
        self._forget_plans()

    def _use_weight_decay(self, variable: Variable) -> bool:
        if any(v is variable for v in self._undecayed):
            return False
        return self._undecayed_names is None or not self._undecayed_names.search(variable.name)

    def _forget_plans(self) -> None:
        self._plans.clear()
        self._whole = None
        self._counter.forget()

    # ------------------------------------------------------------ moving averages

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Moves the averages into the variables at the end of training, where `use_ema` is set."""
        if self.use_ema:
            self._overwrite_model_variables_with_average_value(var_list)

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Sequence[Variable]) -> None:
        averages = self._model_variables_moving_average
        if len(trainable_variables) != len(averages):
            raise ValueError(
                f"The length of model variables ({len(trainable_variables)}) to override does not match the length of "
                f"model variables stored in the optimizer ({len(averages)}). Please check if the optimizer was called "
                "on your model."
            )
        for variable, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                variable.assign(average)

    # ------------------------------------------------------------ saving and loading

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Assigns all `variables`, in order."""
        if not self.built:
            raise ValueError(
                "You are calling `set_weights()` on an optimizer that has not yet been built. Please call "
                "`optimizer.build(trainable_variables)` to create the optimizer weights before calling `set_weights()`."
            )
        for variable, weight in zip(self.variables, weights, strict=True):
            shape = tuple(weight.shape) if hasattr(weight, "shape") else np.shape(weight)
            if variable.shape != shape:
                raise ValueError(
                    f"Optimizer variable {variable.path} has shape {variable.shape} not compatible with provided "
                    f"weight shape {shape}."
                )
            variable.assign(weight)

    def save_own_variables(self, store: Any) -> None:
        """Writes the variables to `store`, under "0", "1", ..."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Reads what `save_own_variables` wrote; warns and leaves all as it is where the number is another."""
        if len(store.keys()) != len(self.variables):
            hint = "" if self.built else " This is likely because the optimizer has not been called/built yet."
            warn_user(
                f"Skipping variable loading for optimizer '{self.name}', because it has {len(self.variables)} "
                f"variables whereas the saved optimizer has {len(store.keys())} variables.{hint}"
            )
            return
        for i, variable in enumerate(self.variables):
            variable.assign(store[str(i)])
