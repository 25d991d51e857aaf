"""The objects whose state a file holds, and the paths that Keras gives them.

A path is made of attribute names: those of `dir(obj)` in order, the private ones last, without what any layer has. An
object met twice has the first path. What a list, tuple or dict holds is named by its class, counted within the
container: `layers/dense`, `layers/dense_1`, `towers/container/conv2d`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from fastk.graph import Operation
from fastk.layers.layer import Layer
from fastk.losses import Loss
from fastk.metrics import Metric
from fastk.models.functional import Functional
from fastk.models.sequential import Sequential
from fastk.naming import to_snake_case
from fastk.optimizers import Optimizer

_CONTAINERS = (list, tuple, dict)
# The graph of a model leads to the layers that `layers` holds, in another order.
_GRAPH_ATTRIBUTES = {"operations", "_operations", "_functional", "_built_graph"}


def is_saveable(obj: Any) -> bool:
    """Whether `obj` may have state of its own, or parts that have."""
    return isinstance(obj, (Operation, Optimizer, Metric, Loss))


@functools.cache
def _inherited(kind: type) -> frozenset[str]:
    """The attributes that every object of a kind has, which lead to nothing that is its own."""
    if kind is Layer:
        return frozenset(dir(Layer(name="reference"))) | _GRAPH_ATTRIBUTES
    if kind is Optimizer:
        return frozenset(dir(Optimizer(learning_rate=1.0, name="reference"))) - {"variables"}
    return frozenset(dir(kind(name="reference")))


def _attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, (Sequential, Functional)):
        yield "layers", obj.layers
    kind = next(kind for kind in (Layer, Optimizer, Metric, Loss, Operation) if isinstance(obj, kind))
    names = set(object.__dir__(obj)) - _inherited(kind)
    if isinstance(obj, Layer):  # torch keeps its layers apart, and under further names those in lists
        names |= obj._modules.keys() - obj._contained
    for name in sorted(names, key=lambda name: (name.startswith("_"), name)):
        if name.startswith("__"):
            continue
        try:
            yield name, getattr(obj, name)
        except Exception:  # of a user's property: what cannot be read now leads to no state
            continue


class Walk:
    """Visits an object and all that it owns.

    Args:
        handle: called with each object and its path; returns whether that is done with it. An object that is not is
            visited again where another path leads to it.
        skip: objects that are passed over.
    """

    def __init__(self, handle: Callable[[Any, str], bool], skip: Any = ()):
        self._handle = handle
        # The objects themselves are kept too, so that no id is given away while the walk lasts.
        self._done = {id(obj): obj for obj in skip}
        self._open: set[int] = set()

    def visit(self, obj: Any, path: str = "") -> bool:
        """Visits `obj` and what it owns; returns whether all of it is done."""
        if id(obj) in self._done or id(obj) in self._open:
            return True
        self._open.add(id(obj))
        done = self._handle(obj, path)
        for name, value in _attributes(obj):
            child = f"{path}/{name}" if path else name
            if is_saveable(value):
                done &= self.visit(value, child)
            elif isinstance(value, _CONTAINERS):
                done &= self._visit_items(value, child, set())
        self._open.discard(id(obj))
        if done:
            self._done[id(obj)] = obj
        return done

    def _visit_items(self, container: Any, path: str, seen: set[int]) -> bool:
        if id(container) in seen:
            return True
        seen.add(id(container))
        counts: dict[str, int] = {}
        done = True
        for item in list(container.values()) if isinstance(container, dict) else list(container):
            if is_saveable(item):
                done &= self.visit(item, f"{path}/{_counted(to_snake_case(type(item).__name__), counts)}")
            elif isinstance(item, _CONTAINERS):
                done &= self._visit_nested(item, f"{path}/{_counted('container', counts)}", seen)
        return done

    def _visit_nested(self, container: Any, path: str, seen: set[int]) -> bool:
        return self._visit_items(container, path, seen)


def _counted(name: str, counts: dict[str, int]) -> str:
    count = counts.get(name, -1) + 1
    counts[name] = count
    return f"{name}_{count}" if count else name
