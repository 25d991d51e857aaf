"""What a call of a layer was given, by the names of its `call` signature; and the context that nested calls share."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import torch

from fastk import tree
from fastk.graph import KerasTensor
from fastk.tensor import is_text_array
from fastk.variable import standardize_shape


class CallContext:
    """One outermost call and all the calls inside it.

    Attributes:
        entry_layer: the layer that was called first.
        values: arguments handed down to nested layers, such as `training`.
        loss_owners: the layers that added losses during the call.
    """

    __slots__ = ("entry_layer", "loss_owners", "values")

    def __init__(self, entry_layer: Any):
        self.entry_layer = entry_layer
        self.values: dict[str, Any] = {}
        self.loss_owners: list[Any] = []


class _Current(threading.local):
    context: CallContext | None = None


current = _Current()


@functools.lru_cache(maxsize=4096)
def signature_of(function: Callable) -> inspect.Signature:
    """The signature of a method without `self`."""
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def is_tensor_like(x: Any) -> bool:
    """Whether `x` is a tensor, concrete or symbolic, or an array of strings, which stands for one."""
    return isinstance(x, (torch.Tensor, KerasTensor)) or is_text_array(x)


class CallSpec:
    """The arguments of one call, bound to names.

    Attributes:
        arguments: every argument by name, defaults included.
        given: the names that the caller passed.
        tensors: those arguments that are tensors or structures of tensors.
    """

    def __init__(self, signature: inspect.Signature, args: tuple, kwargs: dict):
        bound = signature.bind(*args, **kwargs)
        self.given = set(bound.arguments)
        bound.apply_defaults()
        self.arguments: dict[str, Any] = bound.arguments
        self.tensors: dict[str, Any] = {}
        for name, value in self.arguments.items():
            if is_tensor_like(value):
                self.tensors[name] = value
            elif tree.is_nested(value) and len(value) > 0:
                flat = tree.flatten(value)
                if all(x is None or is_tensor_like(x) for x in flat):
                    self.tensors[name] = value
                elif any(isinstance(x, (torch.Tensor, KerasTensor)) for x in flat):
                    raise ValueError(
                        "In a nested call() argument, you cannot mix tensors and non-tensors. "
                        f"Received invalid mixed argument: {name}={value}"
                    )
        self.first = next(iter(self.arguments.values()), None)

    @property
    def eager(self) -> bool:
        """Whether every tensor has values."""
        return not any(isinstance(x, KerasTensor) for x in tree.flatten(list(self.tensors.values())))

    def shapes(self) -> dict[str, Any]:
        """`{"<name>_shape": shape}` for every tensor argument but masks and catch-alls."""
        return {
            f"{name}_shape": tree.map_structure(lambda x: None if x is None else standardize_shape(x.shape), value)
            for name, value in self.tensors.items()
            if name not in ("mask", "args", "kwargs")
        }

    def shapes_for(self, method: Callable, class_name: str) -> dict[str, Any]:
        """The shapes that `method` (`build` or `compute_output_shape`) takes, by its parameters' names.

        A method with one parameter gets the first shape; with several, each must be named after an argument of `call`.
        """
        shapes = self.shapes()
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        signature = signature_of(method.__func__) if inspect.ismethod(method) else inspect.signature(method)
        names = [p.name for p in signature.parameters.values() if p.kind not in kinds]
        if len(names) == 1:
            return {names[0]: next(iter(shapes.values()), None)}
        for name in names:
            argument = name.removesuffix("_shape")
            if argument == name:
                problem = "which does not end in `_shape`"
            elif argument not in self.arguments:
                problem = f"but `call()` does not have argument `{argument}`"
            else:
                continue
            method_name = method.__name__
            raise ValueError(
                f"For a `{method_name}()` method with more than one argument, all arguments should have a `_shape` "
                f"suffix and match an argument from `call()`. E.g. `{method_name}(self, foo_shape, bar_shape)`. For "
                f"layer '{class_name}', received `{method_name}()` argument `{name}`, {problem}. The arguments of "
                f"`call()` are {list(self.arguments)}."
            )
        return {name: shapes[name] for name in names if name in shapes}
