"""A layer's state: its variables, sub-layers, metrics and seeds, how they are found, read, written and saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import dtypes
from fastk.graph.plan import forget_plans
from fastk.layers.tracking import track_containers
from fastk.random.seed_generator import SeedGenerator
from fastk.variable import Variable

# Values of these types hold no state: setting them as attributes takes the short way.
_STATELESS = (bool, int, float, str, type(None), bytes)


class Changes:
    """How often an attribute of any layer was set: what was learnt of a model holds while it stays the same."""

    count = 0


changes = Changes()


class LayerState(torch.nn.Module):
    """The part of `Layer` that owns state. A variable is a torch parameter (or buffer) under its own name."""

    name: str
    built: bool = False
    # Whether a plan was made from the layer as it is.
    _in_plan = False
    variable_dtype: Any
    dtype_policy: Any

    def _init_state(self) -> None:
        set_plain = object.__setattr__
        set_before = {name: value for name, value in self.__dict__.items() if name != "_init_arguments"}
        if "_state_locked" in set_before:
            set_before = {}  # initialised a second time, through another base: what is there is the layer's own
        torch.nn.Module.__init__(self)
        set_plain(self, "_trainable", True)
        set_plain(self, "_trainable_variables", [])
        set_plain(self, "_non_trainable_variables", [])
        set_plain(self, "_layers", [])
        set_plain(self, "_metrics", [])
        set_plain(self, "_seed_generators", [])
        # The keys of `_modules` that are no attribute of the user's: layers found in lists and dicts.
        set_plain(self, "_contained", set())
        set_plain(self, "_state_locked", False)
        for name, value in set_before.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        shards = self.__dict__.get("_shards")
        if shards is not None and name in shards:  # torch gathers a parameter that is cut over processes, or drops it
            shards[name].follow(value)
            self._parameters[name] = value
            return
        if name != "training":  # torch's mode, which says nothing of the next step
            changes.count += 1
        kind = type(value)
        if self._in_plan and self.__dict__.get(name, self._in_plan) is not value:
            forget_plans()
        if "_state_locked" not in self.__dict__ or isinstance(getattr(type(self), name, None), property):
            # Before `super().__init__()`, which tracks what it finds; or a setter that does its own work.
            object.__setattr__(self, name, value)
            return
        if kind in _STATELESS:
            if name in self._modules:
                del self._modules[name]
            object.__setattr__(self, name, value)
            return
        value = track_containers(value, self)
        self._track(name, value)
        if isinstance(value, torch.nn.Module) or (kind is torch.nn.Parameter):
            self.__dict__.pop(name, None)
            self._contained.discard(name)
            # A weight of the layer may have the name: torch would refuse the module, or drop the weight.
            registered: list[Any] = [self._parameters, self._buffers]
            held = [(names, names.pop(name)) for names in registered if name in names]
            super().__setattr__(name, value)
            for names, weight in held:
                names[_free_name(name, self._parameters, self._buffers, self._modules)] = weight
        else:
            if name in self._modules:
                del self._modules[name]
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(type(self), name, None)
        if isinstance(found, property):
            return found.__get__(self)  # it raised an AttributeError of its own, which says more than torch's
        return super().__getattr__(name)

    def __delattr__(self, name: str) -> None:
        value = getattr(self, name, None)
        if isinstance(value, Variable):
            self._untrack_variable(value)
        elif name in self._modules:
            self._layers[:] = [layer for layer in self._layers if layer is not value]
        super().__delattr__(name)

    def _require_super_init(self) -> None:
        if "_state_locked" not in self.__dict__:
            raise RuntimeError(
                f"In layer '{type(self).__name__}', you forgot to call `super().__init__()` as the first statement in "
                "the `__init__()` method. Go add it!"
            )

    # ------------------------------------------------------------ tracking

    def _track(self, attribute: str | None, value: Any) -> None:
        if isinstance(value, Variable):
            self._track_variable(value)
        elif isinstance(value, LayerState):
            self._track_layer(value, attribute)
        elif isinstance(value, SeedGenerator):
            _append_new(self._seed_generators, value)
        elif getattr(value, "_is_metric", False):
            _append_new(self._metrics, value)

    def _check_unlocked(self, what: str) -> None:
        if self._state_locked:
            raise ValueError(
                f"You cannot add new elements of state (variables or sub-layers) to a layer that is already built. "
                f"All state must be created in the `__init__()` method or in the `build()` method. "
                f"Layer '{self.name}' received {what}."
            )

    def _track_variable(self, variable: Variable) -> None:
        if any(v is variable for v in self._trainable_variables) or any(
            v is variable for v in self._non_trainable_variables
        ):
            return
        self._check_unlocked(f"the variable '{variable.name}'")
        trainable = variable.trainable
        (self._trainable_variables if trainable else self._non_trainable_variables).append(variable)
        if not self._trainable:
            variable.trainable = False
        registered: dict[str, Any] = self._parameters if trainable else self._buffers
        registered[_free_name(variable.name, self._parameters, self._buffers, self._modules)] = variable._value

    def _untrack_variable(self, variable: Variable) -> None:
        for variables in (self._trainable_variables, self._non_trainable_variables):
            variables[:] = [v for v in variables if v is not variable]
        for registered in (self._parameters, self._buffers):
            for name in [n for n, value in registered.items() if value is variable._value]:
                del registered[name]

    def _track_layer(self, layer: Any, attribute: str | None = None) -> None:
        if any(known is layer for known in self._layers):
            return
        self._check_unlocked(f"the layer '{layer.name}'")
        self._layers.append(layer)
        if attribute is None:
            self._register_contained(layer)

    def _register_contained(self, layer: Any) -> None:
        """Makes a layer that is no attribute the torch module's child, under its own name."""
        key = _free_name(layer.name, self._modules)
        self._modules[key] = layer
        self._contained.add(key)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """`Module.to`, `.half()` and their like: variables follow their parameters."""
        own = [(v, registered, name) for registered in (self._parameters, self._buffers)
               for name, value in registered.items()
               for v in (*self._trainable_variables, *self._non_trainable_variables) if v._value is value]  # fmt: skip
        super()._apply(fn, recurse)
        for variable, registered, name in own:
            value: Any = registered[name]
            variable._value = value
            variable._dtype = dtypes.standardize_dtype(value.dtype)
        for generator in self._seed_generators:
            generator.state._value.data = fn(generator.state._value.data)
        before = dtypes.to_torch_dtype(self.variable_dtype)
        after = fn(torch.empty(0, dtype=before)).dtype
        if after is not before and after.is_floating_point:
            # The layer computes in what it was moved to; one without weights too, or it would cast back.
            self.dtype_policy = dtypes.standardize_dtype(after)
        return self

    # ------------------------------------------------------------ reading

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> list[Any]:
        found: dict[int, Any] = {id(self): self} if include_self else {}
        pending = list(reversed(self._layers))
        while pending:
            layer = pending.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                if recursive:
                    pending.extend(reversed(layer._layers))
        return list(found.values())

    def _own_variables(self) -> list[Variable]:
        return self._trainable_variables + self._non_trainable_variables

    @property
    def variables(self) -> list[Variable]:
        """All state, the seeds' included; not the metrics'."""
        found: dict[int, Variable] = {id(v): v for v in self._own_variables()}
        for generator in self._seed_generators:
            found[id(generator.state)] = generator.state
        for layer in self._layers:
            found |= {id(v): v for v in layer.variables if id(v) not in found}
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """The variables of the layer and its sub-layers, without seeds and metrics."""
        found: dict[int, Variable] = {id(v): v for v in self._own_variables()}
        for layer in self._layers:
            found |= {id(v): v for v in layer.weights if id(v) not in found}
        return list(found.values())

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that training changes."""
        return [v for v in self.variables if v.trainable] if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The variables that training does not change by gradients."""
        return [v for v in self.variables if not v.trainable] if self.trainable else self.variables

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        return [v for v in self.weights if v.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training does not change by gradients."""
        return [v for v in self.weights if not v.trainable] if self.trainable else self.weights

    @property
    def metrics(self) -> list[Any]:
        """The metrics of the layer and its sub-layers."""
        metrics = list(self._metrics)
        for layer in self._layers:
            metrics.extend(layer.metrics)
        return metrics

    @property
    def metrics_variables(self) -> list[Variable]:
        """The variables of all metrics."""
        return [v for metric in self.metrics for v in metric.variables]

    @property
    def trainable(self) -> bool:
        """Whether training changes the layer; setting it sets it for all sub-layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = bool(value)
        object.__setattr__(self, "_trainable", value)
        for variable in self._trainable_variables:
            variable.trainable = value
        for layer in self._layers:
            layer.trainable = value

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`, as NumPy arrays."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Writes values into `weights`.

        Args:
            weights: arrays in the order and of the shapes of `weights`.
        """
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(own)} weights: {[(v.path, v.shape) for v in own]}."
            )
        for variable, value in zip(own, weights, strict=True):
            shape = tuple(np.shape(value))
            if variable.shape != shape:
                raise ValueError(
                    f"Layer {self.name} weight shape {variable.shape} ('{variable.path}') is not compatible with "
                    f"provided weight shape {shape}."
                )
        for variable, value in zip(own, weights, strict=True):
            variable.assign(value)

    def count_params(self) -> int:
        """The number of scalars in the weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built. "
                "You can build it manually via: `layer.build(input_shape)`."
            )
        return sum(int(np.prod(v.shape, dtype=np.int64)) for v in self.weights)

    # ------------------------------------------------------------ files

    def save_own_variables(self, store: Any) -> None:
        """Puts the layer's own variables (not its sub-layers') into `store` under "0", "1", ..."""
        for i, variable in enumerate(self._own_variables()):
            store[f"{i}"] = variable

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` put into `store`."""
        own = self._own_variables()
        if len(store.keys()) != len(own):
            if not own and not self.built:
                raise ValueError(
                    f"Layer '{self.name}' was never built and thus it doesn't have any variables. However the weights "
                    f"file lists {len(store.keys())} variables for this layer. Its parent's `build()` must build it "
                    "too, or it must say in `get_build_config()` and `build_from_config()` how it is built."
                )
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables, but received {len(store.keys())} variables during "
                f"loading. Expected: {[(v.name, v.shape) for v in own]}"
            )
        for i, variable in enumerate(own):
            variable.assign(store[f"{i}"])


def _free_name(name: str, *taken: dict) -> str:
    name = name.replace(".", "_")
    while any(name in names for names in taken):
        name += "_"
    return name


def _append_new(items: list, value: Any) -> None:
    if not any(item is value for item in items):
        items.append(value)
