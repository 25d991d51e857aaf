"""What decides which tensor operations a step does, as far as it is fastk's own code: to be compared, not run.

A recorded step has to be made anew when the model is no longer as it was. Running and recording it again tells, but
takes longer than many replayed steps. Where nothing that a step calls is the user's own, it also follows from what can
be reached from the model: the objects, their plain attributes, the places of their tensors, and the settings of fastk
and torch.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

import numpy as np
import torch

from fastk import config
from fastk.device import get_device
from fastk.distribution import strategies
from fastk.graph import KerasTensor
from fastk.graph.function import CallGraph
from fastk.graph.operation import Operation
from fastk.graph.plan import GLOBAL_HOOKS
from fastk.optimizers import Optimizer
from fastk.random import seed_generator
from fastk.variable import Variable

_PLAIN = (bool, int, float, str, bytes, complex, type(None), type(Ellipsis), torch.dtype, torch.device, torch.layout,
          torch.memory_format, torch.Size, np.dtype, np.generic)  # fmt: skip
# Of these it only matters which one it is.
_ATOMS = (KerasTensor, torch.Generator, inspect.Signature, types.BuiltinFunctionType, types.MethodDescriptorType,
          types.WrapperDescriptorType, np.ufunc)  # fmt: skip
_OURS = ("fastk.", "torch.", "numpy.", "builtins.", "collections.", "functools.", "operator.", "math.", "_operator.",
         "abc.", "typing.")  # fmt: skip
_SMALL = 1 << 10
# Attributes of layers and models that say nothing of what a step does, or that each step and each `fit` sets.
_PASSING = frozenset({
    "_begun", "_build_shapes", "_call_context_args", "_compile_arguments", "_contained", "_has_fixed_losses",
    "_inbound_nodes", "_init_arguments", "_initial_epoch", "_same_in", "_kept_plan", "_layers", "_losses_context",
    "_non_persistent_buffers_set", "_outbound_nodes", "_parent_path", "_path", "_signature", "_steps",
    "_told_eager", "_trainable_when_compiled", "_trained", "_weight_options", "history", "stop_evaluating",
    "stop_predicting", "stop_training", "training",
    # Hooks around a call are looked for by `CapturedStep`; those around saving are nothing to a step.
    "_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_is_full_backward_hook",
    "_load_state_dict_post_hooks", "_load_state_dict_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks",
})  # fmt: skip
_OF_VARIABLES = frozenset({"_shape", "aggregation", "name", "path", "synchronization"})
# Attributes of optimizers that count steps, or that are made of the others.
_COUNTS = frozenset({"_counter", "_plans", "_whole"})
_PASSED_OVER = ((Operation, _PASSING), (Variable, _OF_VARIABLES), (Optimizer, _COUNTS))


class Foreign(Exception):
    """Something of the user's own can be reached, whose code a step may run: `what` says of which kind."""

    def __init__(self, what: str):
        super().__init__(what)
        self.what = what


class Fingerprint:
    """What was found at one time; two of the same model are equal where a step would do the same.

    Args:
        model: the model, from which everything is reached that a step uses.

    Raises:
        Foreign: a step may run code that is not fastk's.

    >>> import fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(2), fastk.layers.Dropout(0.5)])
    >>> before = Fingerprint(model)
    >>> before == Fingerprint(model)
    True
    >>> model.layers[1].rate = 0.1
    >>> before == Fingerprint(model)
    False
    """

    __slots__ = ("_classes", "_objects", "_seen", "_values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, model: Any):
        self._objects: list[Any] = []  # compared as such
        self._values: list[Any] = []
        self._seen: set[int] = set()
        self._classes: set[type] = set()
        self._settings()
        self._walk(model)

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Fingerprint)
            and len(self._objects) == len(other._objects)
            and all(a is b for a, b in zip(self._objects, other._objects, strict=True))
            and self._values == other._values
        )

    def _settings(self) -> None:
        """What holds for all models."""
        self._values += [
            config.floatx(), config.epsilon(), config.image_data_format(), config.kernels(),
            config.float32_precision(), config.is_flash_attention_enabled(), get_device(),
            torch.get_default_dtype(), torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled,
            torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"),
            torch.get_autocast_dtype("cpu"), torch.get_autocast_dtype("cuda"), strategies.active() is not None,
        ]  # fmt: skip
        self._objects.append(seed_generator.global_seed_generator_if_any())
        for hooks in GLOBAL_HOOKS:
            self._objects += hooks.values()

    def _walk(self, x: Any) -> None:
        kind = type(x)
        look = _LOOKS.get(kind)
        if look is None:
            look = _look_at(kind)
        if look is _PLAINLY:
            self._values.append(x)
        elif look is Fingerprint._tensor:
            self._tensor(x)
        elif id(x) not in self._seen:
            self._seen.add(id(x))
            look(self, x)

    def _tensor(self, x: torch.Tensor) -> None:
        place = x.data_ptr() if x.layout is torch.strided else id(x)
        self._values.append((place, x.shape, x.dtype, x.requires_grad))

    def _dictionary(self, x: dict) -> None:
        self._values.append(len(x))
        for key, value in x.items():
            self._walk(key)
            self._walk(value)

    def _sequence(self, x: Any) -> None:
        self._values.append(len(x))
        for one in x:
            self._walk(one)

    def _set(self, x: Any) -> None:
        self._values.append(frozenset(x))

    def _array(self, x: np.ndarray) -> None:
        if x.nbytes > _SMALL or x.dtype == object:
            raise Foreign(f"an array of {x.nbytes} bytes")
        self._values.append((x.dtype, x.shape, x.tobytes()))

    def _atom(self, x: Any) -> None:
        self._objects.append(x)

    def _function(self, x: types.FunctionType) -> None:
        self._objects.append(x)
        if not f"{x.__module__}.".startswith(_OURS):
            raise Foreign(f"the function `{x.__qualname__}` of `{x.__module__}`")
        for cell in x.__closure__ or ():
            try:
                self._walk(cell.cell_contents)
            except ValueError:  # empty
                continue

    def _method(self, x: types.MethodType) -> None:
        self._walk(x.__func__)
        self._walk(x.__self__)

    def _partial(self, x: functools.partial) -> None:
        for one in (x.func, x.args, x.keywords):
            self._walk(one)

    def _calls(self, x: CallGraph) -> None:
        self._objects.append(x)
        for node in x.nodes_to_run:
            for one in (node.operation, node.args, node.kwargs):
                self._walk(one)

    def _type(self, x: type) -> None:
        self._objects.append(x)
        self._class(x)

    def _class(self, x: type) -> None:
        """A class, and what stands in it and its bases now."""
        if x in self._classes:
            return
        for base in x.__mro__:
            if base not in self._classes:
                self._classes.add(base)
                if _is_of(base, ("fastk.",)):
                    self._objects += vars(base).values()
                elif not _is_of(base, _OURS):
                    raise Foreign(f"the class `{base.__name__}` of `{base.__module__}`")

    def _object(self, x: Any) -> None:
        kind = type(x)
        self._objects.append(x)
        self._class(kind)
        passing, slots = _attributes_of(kind)
        for name, value in getattr(x, "__dict__", {}).items():
            if name not in passing and not name.endswith("_initializer"):
                self._walk(value)
        for name in slots:
            self._walk(getattr(x, name, None))

    def _foreign(self, x: Any) -> None:
        kind = type(x)
        raise Foreign(f"a `{kind.__name__}` of `{kind.__module__}`")


def of_step(model: Any) -> Fingerprint | None:
    """The fingerprint of a model, or None where a step may run code of the user's own."""
    try:
        return Fingerprint(model)
    except Foreign:
        return None


_PLAINLY = object()  # its values are compared as they are
_LOOKS: dict[type, Any] = {}
_BY_BASE: tuple[tuple[Any, Any], ...] = (
    (_PLAIN, _PLAINLY), (torch.Tensor, Fingerprint._tensor), (dict, Fingerprint._dictionary),
    ((list, tuple), Fingerprint._sequence), ((set, frozenset), Fingerprint._set), (np.ndarray, Fingerprint._array),
    (types.FunctionType, Fingerprint._function), (types.MethodType, Fingerprint._method),
    (functools.partial, Fingerprint._partial), (type, Fingerprint._type), (CallGraph, Fingerprint._calls),
    (_ATOMS, Fingerprint._atom),
)  # fmt: skip


def _look_at(kind: type) -> Any:
    """How objects of a class are walked through."""
    found = next((look for base, look in _BY_BASE if issubclass(kind, base)), None)
    if found is None and not _is_of(kind, ("fastk.",)):
        return Fingerprint._foreign
    _LOOKS[kind] = found or Fingerprint._object
    return _LOOKS[kind]


@functools.cache
def _attributes_of(kind: type) -> tuple[frozenset[str], tuple[str, ...]]:
    """Of a class of fastk the attributes to pass over, and those in slots."""
    passing = next((names for base, names in _PASSED_OVER if issubclass(kind, base)), frozenset())
    return passing, tuple(name for base in kind.__mro__ for name in vars(base).get("__slots__", ()))


def _is_of(kind: type, modules: tuple[str, ...]) -> bool:
    return f"{kind.__module__}.".startswith(modules)
