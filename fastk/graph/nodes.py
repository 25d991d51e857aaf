"""`Graph`: a model as data: values, and the ops that compute them. It is what rules rewrite and what is printed.

>>> import fastk
>>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(2, activation="relu", name="hidden")], name="net")
>>> print(model.graph())
net(%0: (None, 3) float32)
  %1 = dense(%0, kernel=hidden/kernel[3,2], bias=hidden/bias[2], activation=relu)  # hidden  (None, 2) float32
  return %1
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fastk import tree


@dataclass(frozen=True)
class OpSpec:
    """One op of what a layer computes, in the words of the fusion rules.

    Attributes:
        op: the op's name.
        call: computes it, from the tensors and from `attributes` by keyword.
        attributes: arguments of `call` that rules may set: `activation`, `dropout`, `batch_norm`.
        shown: other facts, for rules to look at and for people to read.
        weights: the variables that it reads, by their role.
        takes_training: whether `call` has the argument `training`.
    """

    op: str
    call: Callable[..., Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    takes_training: bool = False


def by_name(variables: Iterable[Any]) -> dict[str, Any]:
    """Variables by their names, numbered where a name comes again."""
    found: dict[str, Any] = {}
    for variable in variables:
        name = variable.name
        for i in itertools.count(1):
            if name not in found:
                break
            name = f"{variable.name}_{i}"
        found[name] = variable
    return found


class Value:
    """A tensor of the graph: its shape, with None for a size that is not known, and its dtype's name."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int | None, ...], dtype: str):
        self.shape = tuple(shape)
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{self.shape} {self.dtype}"


@dataclass(frozen=True, eq=False)
class OpNode:
    """One op of a graph.

    Attributes:
        spec: what it computes.
        args, kwargs: the call's arguments: structures of `Value` and of constants.
        outputs: the values that it makes.
        layers: the layers that it comes from, by name, in the order in which they were called.
        source: the first of these layers, or the operation.
        opaque: None, or why the layer is called as a whole, out of the rules' reach.
        fused: the names of the rules that made it.
    """

    spec: OpSpec
    args: tuple
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]
    layers: tuple[str, ...]
    source: Any
    opaque: str | None = None
    fused: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The op's name."""
        return self.spec.op

    @property
    def attributes(self) -> dict[str, Any]:
        """The arguments of the op that rules may set."""
        return self.spec.attributes

    @property
    def inputs(self) -> list[Value]:
        """The values among the arguments."""
        return [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, Value)]

    @property
    def output(self) -> Value:
        """The first value that it makes."""
        return self.outputs[0]

    def with_attributes(self, **attributes: Any) -> OpNode:
        """The same op with other attributes."""
        spec = dataclasses.replace(self.spec, attributes={**self.spec.attributes, **attributes})
        return dataclasses.replace(self, spec=spec)


@dataclass(frozen=True, eq=False)
class Graph:
    """Ops in an order in which they can run.

    Attributes:
        name: the model's.
        inputs: the values that are given.
        nodes: the ops.
        outputs: the values that are returned, flat.
        structure: the outputs in the structure that they are returned in.
        bypassed: the layers that are not called because their ops are.
        notes: (layers, sentence) for what was left as it is, and why.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[OpNode, ...]
    outputs: tuple[Value, ...]
    structure: Any = None
    bypassed: tuple[Any, ...] = ()
    notes: tuple[tuple[tuple[str, ...], str], ...] = ()

    def numbers(self) -> dict[Value, int]:
        """Each value's place in the order in which values come to be."""
        values = dict.fromkeys([*self.inputs, *(value for node in self.nodes for value in node.outputs)])
        return {value: number for number, value in enumerate(values)}

    def consumers(self) -> dict[Value, list[OpNode | None]]:
        """The ops that take each value; None for the caller, who takes an output."""
        found: dict[Value, list[OpNode | None]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value, []).append(node)
        for value in self.outputs:
            found.setdefault(value, []).append(None)
        return found

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        numbers = self.numbers()
        given = ", ".join(f"%{numbers[x]}: {x}" for x in self.inputs)
        returned = ", ".join(f"%{numbers[x]}" for x in self.outputs)
        return "\n".join(
            [f"{self.name}({given})", *(f"  {line(n, numbers)}" for n in self.nodes), f"  return {returned}"]
        )


def line(node: OpNode, numbers: dict[Value, int]) -> str:
    """One op on one line: `%1 = dense(%0, kernel=hidden/kernel[3,2], activation=relu)  # hidden  (None, 2) float32`."""
    given = [_text(x, numbers) for x in node.args]
    given += [f"{role}={_weight(v)}" for role, v in node.spec.weights.items() if v is not None]
    options = {**node.kwargs, **node.spec.shown, **node.attributes}
    given += [f"{name}={_text(x, numbers)}" for name, x in options.items() if x is not None]
    made = ", ".join(f"%{numbers[x]}" for x in node.outputs)
    types = ", ".join(map(str, node.outputs))
    return f"{made} = {node.op}({', '.join(given)})  # {' + '.join(node.layers)}  {types}"


def _weight(variable: Any) -> str:
    path = "/".join(variable.path.split("/")[-2:])
    return f"{path}[{','.join(map(str, variable.shape))}]"


def _text(x: Any, numbers: dict[Value, int]) -> str:
    if isinstance(x, Value):
        return f"%{numbers[x]}"
    if isinstance(x, (list, tuple)):
        return (
            f"[{', '.join(_text(item, numbers) for item in x)}]"
            if isinstance(x, list)
            else (f"({', '.join(_text(item, numbers) for item in x)})")
        )
    if hasattr(x, "shape"):  # a constant tensor or a variable
        return f"{type(x).__name__.lower()}{list(x.shape)}"
    return str(getattr(x, "name", x))
