"""What a layer tells `fastk.graph`: in which ops it computes, and when it has to be called as a whole."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from fastk import activations
from fastk.graph import OpSpec
from fastk.graph.nodes import by_name
from fastk.graph.operation import is_fastk
from fastk.naming import to_snake_case

# What a user may put in the place of a layer's computation, on the layer itself.
REPLACED = frozenset({"call", "forward"})


class LayerGraphOps:
    """The part of `Layer` that `graph.trace` asks; a layer that rules know has a `_graph_ops` of its own."""

    call: Callable[..., Any]
    built: bool
    autocast: bool
    input_dtype: str
    activity_regularizer: Any
    weights: list[Any]
    compute_dtype: str
    variable_dtype: str
    _autocast_scope: Callable[[], Any]
    _call_has_training: bool
    _makes_masks: bool
    _remat_scope: Any
    _convert_input_args: bool

    def _graph_ops(self) -> list[OpSpec]:
        """One op, named after the class, which is the layer's `call`."""
        name = to_snake_case(type(self).__name__)
        return [OpSpec(name, self.call, weights=by_name(self.weights), takes_training=self._call_has_training)]

    def _why_opaque(self) -> str | None:
        kind = type(self).__name__
        if not is_fastk(type(self)):
            return f"{kind} is the user's own layer"
        if has_hooks(self):
            return "it has torch hooks"
        if not REPLACED.isdisjoint(self.__dict__):
            return "its call was replaced"
        if self.activity_regularizer is not None:
            return "its outputs are regularized"
        if self._remat_scope is not None:
            return "it was made in a RematScope"
        if self._makes_masks:
            return "it makes masks"
        return None if self.built else "it is not built"

    def _in_scope(self, call: Callable[..., Any], mixed: bool) -> Callable[..., Any]:
        if not mixed and self.compute_dtype == self.variable_dtype:
            return call

        @functools.wraps(call)
        def in_scope(*args: Any, **kwargs: Any) -> Any:
            with self._autocast_scope() or contextlib.nullcontext():
                return call(*args, **kwargs)

        return in_scope

    def _casts_inputs_to(self) -> str | None:
        return self.input_dtype if self.autocast and self._convert_input_args else None


def hook_tables(module: Any) -> list[dict]:
    """The tables in which torch keeps the hooks of a module."""
    return [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks]


def has_hooks(module: Any) -> bool:
    """Whether torch calls something of the user's before or after the module."""
    return any(hook_tables(module))


def kernel_activation(function: Any) -> str | None:
    """The name that kernels know an activation by; None where they do not, and for the identity."""
    name = activations.fused_name(function)
    return None if name == "linear" else name


def activation_op(function: Any) -> OpSpec:
    """An activation as an op: `activation` where kernels know it by name, else named after the function."""
    name = activations.fused_name(function)
    if name is not None:
        return OpSpec("activation", function, shown={"activation": name})
    name = getattr(function, "__name__", type(function).__name__)
    if getattr(activations, name, None) is function:
        return OpSpec(name, function)
    return OpSpec("function", function, shown={"function": name})


def left_activation(function: Any) -> list[OpSpec]:
    """The op of an activation that the kernels before it do not know; none where they do."""
    return [] if activations.fused_name(function) is not None else [activation_op(function)]
