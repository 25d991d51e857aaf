"""Rematerialization: activations are computed again in the backward pass instead of being kept for it.

Source: Chen et al., 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.checkpoint import checkpoint

from fastk import activations, tree
from fastk.graph import KerasTensor
from fastk.layers.call_spec import CallContext, current
from fastk.scopes import StatelessScope, internal, state

MODES = ("full", "activations", "larger_than", "list_of_layers", None)


class _Open(threading.local):
    def __init__(self) -> None:
        self.scopes: list[RematScope] = []


_open = _Open()


class RematScope:
    """Layers made inside compute their activations again in the backward pass, which saves memory and costs time.

    Args:
        mode: `"full"`: every layer; `"activations"`: the activation functions of layers alone; `"larger_than"`: layers
            whose output has more than `output_size_threshold` values; `"list_of_layers"`:
            layers named in `layer_names`; None: none, inside another scope.
        output_size_threshold: for `"larger_than"`.
        layer_names: for `"list_of_layers"`.

    >>> import fastk
    >>> with fastk.RematScope(mode="full"):
    ...     layer = fastk.layers.Dense(3, activation="gelu")
    >>> layer(fastk.ops.ones((2, 4))).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, mode: str | None = "full", output_size_threshold: int = 1024, layer_names: Sequence[str] | None = None
    ):
        if mode not in MODES:
            raise ValueError(f"Invalid mode {mode!r}. Supported modes are: {', '.join(map(repr, MODES))}.")
        self.mode = mode
        self.output_size_threshold = output_size_threshold
        self.layer_names = list(layer_names or [])

    def __enter__(self) -> RematScope:
        _open.scopes.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        _open.scopes.pop()


def current_scope() -> RematScope | None:
    """The innermost scope that asks for rematerialization in this thread."""
    scope = _open.scopes[-1] if _open.scopes else None
    return None if scope is None or scope.mode is None else scope


def remat(f: Callable) -> Callable:
    """`f`, whose intermediate values are computed again in the backward pass instead of being kept for it.

    What `f` assigns to variables, such as moving averages and the states of seeds, it assigns once: the second time it
    starts from their values before the first, so that dropout drops the same again, and writes nothing.

    Args:
        f: a function of tensors, or a layer.

    >>> import fastk
    >>> f = fastk.remat(lambda x: fastk.ops.exp(fastk.ops.sin(x)))
    >>> x = torch.ones(2, requires_grad=True)
    >>> f(x).sum().backward()
    >>> x.grad
    tensor([1.2534, 1.2534])
    """

    @functools.wraps(f)
    def rematerialized(*args: Any, **kwargs: Any) -> Any:
        if state.symbolic or not torch.is_grad_enabled():
            return f(*args, **kwargs)
        passes = _Passes()
        outputs = checkpoint(
            f,
            *args,
            use_reentrant=False,
            # torch's own random state can be neither read nor written while a CUDA graph is being captured.
            preserve_rng_state=not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()),
            context_fn=lambda: (passes.first(), passes.again()),
            **kwargs,
        )
        passes.write()
        return outputs

    return rematerialized


class _Assignments(StatelessScope):
    """Keeps which variables were assigned, beside the values; reads through to the scope around it.

    Args:
        outer: the scope whose values are read where this one has none.
        state_mapping: pairs of variables and the values that they start from.
    """

    def __init__(self, outer: StatelessScope | None, state_mapping: Any = None):
        super().__init__(state_mapping=state_mapping)
        self.outer = outer
        self.assigned: dict[int, Any] = {}

    def add_update(self, update: Any) -> None:
        super().add_update(update)
        self.assigned[id(update[0])] = update[0]

    def get_current_value(self, variable: Any) -> Any:
        value = super().get_current_value(variable)
        return self.outer.get_current_value(variable) if value is None and self.outer is not None else value


class _Passes:
    """The two passes through a function: what the first assigns is written after it, and undone for the second.

    The second runs in the backward pass, on a GPU in another thread: what held at the time of the first is kept here.
    """

    def __init__(self) -> None:
        self._outer = state.stateless
        self._scope = _Assignments(self._outer)
        self._replaced: list[tuple[Any, torch.Tensor]] = []
        self._autocast = state.autocast
        self._context = current.context
        self._handed_down = {} if self._context is None else dict(self._context.values)

    @contextmanager
    def first(self) -> Iterator[None]:
        with self._scope:
            yield

    def write(self) -> None:
        """Assigns what the first pass assigned, and keeps what was there before."""
        for key, variable in self._scope.assigned.items():
            self._replaced.append((variable, variable.value.detach().clone()))
            variable.assign(self._scope.state_mapping[key])

    @contextmanager
    def again(self) -> Iterator[None]:
        before = (state.autocast, state.recomputing, current.context)
        state.autocast, state.recomputing = self._autocast, True
        if self._context is not None:
            current.context = CallContext(self._context.entry_layer)
            current.context.values.update(self._handed_down)
        try:
            with internal(), _Assignments(self._outer, self._replaced):
                yield
        finally:
            state.autocast, state.recomputing, current.context = before


class Rematerialized:
    """The part of `Layer` that runs `call` under the `RematScope` that the layer was made in."""

    name: str
    call: Callable
    compute_output_spec: Callable
    _remat_scope: RematScope | None

    def rematerialized_call(self, layer_call: Callable, *args: Any, **kwargs: Any) -> Callable:
        """`layer_call`, which computes its activations again where the layer's `RematScope` asks for it.

        Args:
            layer_call: the layer's `call`.
            args, kwargs: the arguments that it will be called with, whose sizes may decide.
        """
        scope = self._remat_scope
        if scope is None:
            return layer_call
        if scope.mode == "activations":
            return self._with_remat_activation(layer_call)
        asked = (
            scope.mode == "full"
            or (scope.mode == "list_of_layers" and self.name in scope.layer_names)
            or (scope.mode == "larger_than" and self._output_size(args, kwargs) > scope.output_size_threshold)
        )
        return remat(layer_call) if asked else layer_call

    def _output_size(self, args: tuple, kwargs: dict[str, Any]) -> int:
        def symbolic(x: Any) -> Any:
            return KerasTensor(tuple(x.shape), dtype=x.dtype) if isinstance(x, torch.Tensor) else x

        taken, named = tree.map_structure(symbolic, args), tree.map_structure(symbolic, kwargs)
        with _disable_current_modes():  # shapes alone: nothing for a step that is being recorded
            outputs = self.compute_output_spec(*taken, **named)
        return sum(math.prod(x.shape) for x in tree.flatten(outputs))

    def _with_remat_activation(self, layer_call: Callable) -> Callable:
        activation = self.__dict__.get("activation")
        if activation is None or activation is activations.linear:
            return layer_call

        @functools.wraps(layer_call)
        def call(*args: Any, **kwargs: Any) -> Any:
            object.__setattr__(self, "activation", remat(activation))  # nothing to be tracked
            try:
                return layer_call(*args, **kwargs)
            finally:
                object.__setattr__(self, "activation", activation)

        return call
