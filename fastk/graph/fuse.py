"""The fusion rules, as a table, and their application to a graph.

A row is a pattern (ops that follow one another), when it holds, a condition and a replacement. Whatever the row, the op
in the middle must have no other use, none of the layers may be opaque (hooks, masks, a `call` of the user's; see
`graph.trace`), and all must compute in one dtype policy. What a condition refuses is kept, with its sentence, among the
notes of the graph.

The rules are applied from the first op to the last until none matches; a chain of three, such as Conv2D →
BatchNormalization → ReLU, is the work of two rows.

>>> from fastk.graph.fuse import RULES
>>> [rule.name for rule in RULES][:3]
['product → activation', 'dense → dropout', 'batch_norm → activation']
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastk import activations, config, dispatch, tree
from fastk.graph.nodes import Graph, OpNode, OpSpec, Value
from fastk.kernels.activation.aten import EPILOGUES

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d"})
PRODUCTS = CONVOLUTIONS | {"dense"}
MAX_POOLS = frozenset({"max_pool1d", "max_pool2d", "max_pool3d"})
# The op of `fastk.dispatch` that computes an op of the graph, where it is called otherwise.
KERNELS = {
    "conv1d": "conv2d",
    "depthwise_conv1d": "depthwise_conv2d",
    "max_pool1d": "max_pool2d",
    "average_pool1d": "average_pool2d",
}
# Activations for which max(f(a), f(b)) is f(max(a, b)) to the last bit, and so are the gradients: where they make
# different values equal, the derivative is 0. Others round different values to equal ones, and gradients go elsewhere.
EXACTLY_MONOTONE = frozenset({"relu", "relu6"})
# Elements of a sample from which on a GPU folds. Folding adds about 6 launches of 1.5 us each; a pass over the result,
# read and written in float32 at 4 TB/s, takes as long for 4.5 million elements, 32 samples of this size.
LARGE = 1 << 17
# Those that overwrite what they are taken of.
IN_PLACE = frozenset({"relu", "sigmoid", "tanh"})


@dataclass(frozen=True)
class Target:
    """What a graph is fused for: training or not, and the device's type."""

    training: bool
    device_type: str

    def is_torch(self, op: str) -> bool:
        """Whether torch's own ops compute `op`, in which an activation is a pass of its own."""
        if config.kernels() != "auto":
            return config.kernels() == "aten"
        available = dispatch.availability(KERNELS.get(op, op), self.device_type)
        return self.device_type != "cuda" or all(available.get(name) is not None for name in ("triton", "cupy"))


Condition = Callable[[tuple[OpNode, ...], Target], "str | None"]
Replacement = Callable[[tuple[OpNode, ...], Target], tuple[OpNode, ...]]


@dataclass(frozen=True)
class Rule:
    """A row of the table.

    Attributes:
        name: the pattern in words.
        pattern: for each op of the chain, the names that it may have.
        says: what the row does, as a sentence of `explain()`.
        condition: of the matched ops: None, or why not, as a sentence; "" where there is nothing to say.
        replacement: the ops that take the place of the matched ones; none hands the input on.
    """

    name: str
    pattern: tuple[frozenset[str], ...]
    says: str
    condition: Condition
    replacement: Replacement


# ---------------------------------------------------------------- conditions


def _can_activate(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    first, second = nodes
    if "activation" not in first.attributes:
        return f"{first.op} takes no activation along here"
    if first.attributes["activation"] is not None:
        return f"{first.op} ends with {first.attributes['activation']} already"
    if first.attributes.get("dropout") is not None:
        return "dropout stands between them"
    return "" if second.spec.shown["activation"] == "linear" else None


def _can_drop(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    dense, dropout = nodes
    if not target.training or dropout.spec.shown["rate"] == 0:
        return ""
    if dropout.spec.shown["noise_shape"] is not None:
        return "its mask has a shape of its own"
    return "there is a dropout already" if dense.attributes["dropout"] is not None else None


def _can_fold(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    product, norm = nodes
    if target.training:
        return ""
    if "batch_norm" not in product.attributes:
        return f"the kernel of {product.op} has its channels elsewhere"
    if product.attributes["activation"] is not None:
        return "an activation stands between them"
    if product.attributes["batch_norm"] is not None:
        return "a batch normalization is folded into it already"
    rank = len(product.output.shape)
    if norm.spec.shown["axis"] % rank != product.spec.shown.get("channels", -1) % rank:
        return f"it normalises axis {norm.spec.shown['axis']}, which is not that of the channels"
    if target.device_type == "cuda" and math.prod(size or 1 for size in norm.output.shape) < LARGE:
        return "the result is so small that the six launches of folding would cost more than they save"
    return None


def _adds_new(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    add, second = nodes
    name = second.spec.shown["activation"]
    if name not in IN_PLACE:
        return "" if name == "linear" else f"{name} cannot overwrite the sum"
    # The sum of one tensor is that tensor, which is not ours to overwrite.
    return None if len(tree.flatten((add.args, add.kwargs))) > 1 else "there is nothing to add"


def _can_swap(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    first, _ = nodes
    name = _activation_of(first)
    if name is None:
        return ""
    if name not in EXACTLY_MONOTONE:
        return f"{name} rounds different values to equal ones, so the maximum would be another's"
    if first.attributes.get("dropout") is not None:
        return "dropout stands between them"
    if first.op != "activation" and not target.is_torch(first.op):
        return ""  # a kernel applies it in passing
    return None


def _does_nothing(nodes: tuple[OpNode, ...], target: Target) -> str | None:
    (node,) = nodes
    if node.op == "dropout":
        return "" if target.training and node.spec.shown["rate"] != 0 else None
    return None if node.spec.shown["activation"] == "linear" else ""


# ---------------------------------------------------------------- replacements


def _activate(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    first, second = nodes
    return (_joined(first.with_attributes(activation=second.spec.shown["activation"]), second),)


def _drop(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    dense, dropout = nodes
    return (_joined(dense.with_attributes(dropout=dropout.source), dropout),)


def _fold(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    product, norm = nodes
    folded = product.with_attributes(batch_norm=norm.source, activation=norm.attributes["activation"])
    spec = dataclasses.replace(folded.spec, weights={**product.spec.weights, **norm.spec.weights})
    return (_joined(dataclasses.replace(folded, spec=spec), norm),)


def _add(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    add, second = nodes
    name = second.spec.shown["activation"]
    shown = {**add.spec.shown, "activation": name}
    spec = dataclasses.replace(add.spec, call=_followed_by(add.spec.call, EPILOGUES[name]), shown=shown)
    return (_joined(dataclasses.replace(add, spec=spec), second),)


def _swap(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    first, pool = nodes
    name = _activation_of(first)
    assert name is not None  # so says the condition
    function = activations.get(name) if target.training else EPILOGUES[name]  # nobody else holds what is pooled
    pooled = Value(pool.output.shape, pool.output.dtype)
    after = OpSpec("activation", function, shown={"activation": name})
    if first.op == "activation":
        before, taken = (), first.inputs[0]
    else:
        # An activation that was a layer of its own is one again.
        apart = dataclasses.replace(first.with_attributes(activation=None), layers=first.layers[:-1] or first.layers)
        before, taken = (apart,), first.output
    return (
        *before,
        dataclasses.replace(pool, args=(taken,), outputs=(pooled,)),
        OpNode(after, (pooled,), {}, pool.outputs, first.layers[-1:], first.source),
    )


def _nothing(nodes: tuple[OpNode, ...], target: Target) -> tuple[OpNode, ...]:
    return ()


def _activation_of(node: OpNode) -> str | None:
    """The activation that an op is or ends with."""
    return node.spec.shown["activation"] if node.op == "activation" else node.attributes.get("activation")


def _joined(first: OpNode, second: OpNode) -> OpNode:
    """`first`, changed so that it makes the result of `second`."""
    return dataclasses.replace(first, outputs=second.outputs, layers=(*first.layers, *second.layers))


def _followed_by(call: Callable[..., Any], function: Callable[[Any], Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def both(*args: Any, **kwargs: Any) -> Any:
        return function(call(*args, **kwargs))

    return both


# ---------------------------------------------------------------- the table

_ACTIVATION = frozenset({"activation"})
_BATCH_NORM = frozenset({"batch_norm"})
_DROPOUT = frozenset({"dropout"})

RULES = (
    Rule(
        "product → activation", (PRODUCTS, _ACTIVATION),
        "the activation is applied where the product or the convolution is written", _can_activate, _activate,
    ),
    Rule(
        "dense → dropout", (frozenset({"dense"}), _DROPOUT),
        "the mask is drawn where the product is written, from the same seed", _can_drop, _drop,
    ),
    Rule(
        "batch_norm → activation", (_BATCH_NORM, _ACTIVATION),
        "the activation is applied where the normalised values are written", _can_activate, _activate,
    ),
    Rule(
        "product → batch_norm, inference", (PRODUCTS, _BATCH_NORM),
        "the moving averages are folded into the kernel and the bias, anew at each call", _can_fold, _fold,
    ),
    Rule(
        "add → activation", (frozenset({"add"}), _ACTIVATION),
        "the activation overwrites the sum", _adds_new, _add,
    ),
    Rule(
        "activation → max_pool", (PRODUCTS | _BATCH_NORM | _ACTIVATION, MAX_POOLS),
        "the maximum is taken first, so that fewer values are activated", _can_swap, _swap,
    ),
    Rule(
        "identity", (_DROPOUT | _ACTIVATION,),
        "dropout outside of training, or of rate 0, and the linear activation do nothing", _does_nothing, _nothing,
    ),
)  # fmt: skip


# ---------------------------------------------------------------- application


def fuse(graph: Graph, training: bool, device_type: str = "cpu") -> Graph:
    """The graph with the rules applied.

    Args:
        graph: from `trace`.
        training: whether it is for training steps.
        device_type: where it runs: some rows depend on which kernels there are.

    >>> import fastk
    >>> from fastk.graph.fuse import fuse
    >>> layers = [fastk.layers.Dense(8), fastk.layers.Activation("relu"), fastk.layers.Dropout(0.5)]
    >>> graph = fastk.Sequential([fastk.Input((4,)), *layers]).graph()
    >>> len(graph), len(fuse(graph, training=True)), [node.op for node in fuse(graph, training=False).nodes]
    (3, 1, ['dense'])
    """
    rewriting = _Rewriting(graph, Target(training, device_type))
    position = 0
    while position < len(rewriting.nodes):
        if rewriting.rewrite_at(position):
            position = max(position - 1, 0)  # what was made may continue the op before
        else:
            position += 1
    return rewriting.result()


class _Rewriting:
    """A graph on its way."""

    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self.nodes, self.outputs = list(graph.nodes), graph.outputs
        self.replaced: dict[Value, Value] = {}
        self.notes: dict[tuple[tuple[str, ...], str], None] = dict.fromkeys(graph.notes)
        self._index()

    def _index(self) -> None:
        self.consumers = dataclasses.replace(self.graph, nodes=tuple(self.nodes), outputs=self.outputs).consumers()

    def rewrite_at(self, position: int) -> bool:
        """Applies the first rule that matches a chain from the op at `position` on."""
        for rule in RULES:
            nodes = self._match(rule, self.nodes[position])
            if nodes is None:
                continue
            why_not = self._why_opaque(nodes)
            if why_not is None and (why_not := rule.condition(nodes, self.target)) != "":
                why_not = self._why_apart(nodes) or why_not
            if why_not is None:
                self._replace(rule, nodes)
                return True
            if why_not:
                layers = tuple(dict.fromkeys(name for node in nodes for name in node.layers))
                self.notes[layers, f"{rule.name}: {why_not}"] = None
        return False

    def _match(self, rule: Rule, node: OpNode) -> tuple[OpNode, ...] | None:
        if node.op not in rule.pattern[0]:
            return None
        if len(rule.pattern) == 1:
            return (node,)
        following = [n for n in self.consumers.get(node.output, ()) if n is not None and n.op in rule.pattern[1]]
        return (node, following[0]) if following else None

    @staticmethod
    def _why_opaque(nodes: tuple[OpNode, ...]) -> str | None:
        found = next((node for node in nodes if node.opaque is not None), None)
        return None if found is None else f"{found.layers[0]} is called as a layer, since {found.opaque}"

    def _why_apart(self, nodes: tuple[OpNode, ...]) -> str | None:
        """Why two ops have to stay two, whatever the rule."""
        if len(nodes) == 1:
            return None
        first, second = nodes
        if len(self.consumers[first.output]) > 1:
            return f"the result of {first.layers[-1]} is used elsewhere too"
        if second.kwargs or second.args != (first.output,):
            return f"{second.layers[0]} takes other arguments too"
        policies = [getattr(node.source, "dtype_policy", None) for node in nodes]
        if None not in policies and policies[0] != policies[1]:
            return "they compute in different dtypes"
        return None

    def _replace(self, rule: Rule, nodes: tuple[OpNode, ...]) -> None:
        made = rule.replacement(nodes, self.target)
        if made:
            fused = tuple(dict.fromkeys((*(name for node in nodes for name in node.fused), rule.name)))
            made = (*made[:-1], dataclasses.replace(made[-1], fused=fused))
        position = self.nodes.index(nodes[0])
        for node in nodes[1:]:
            self.nodes.remove(node)
        self.nodes[position : position + 1] = made
        if not made:
            self._hand_on(nodes[-1].output, nodes[0].inputs[0])
        self._index()

    def _hand_on(self, old: Value, new: Value) -> None:
        """Puts `new` wherever `old` is taken."""

        def other(x: Any) -> Any:
            return new if x is old else x

        self.replaced = {x: other(value) for x, value in self.replaced.items()} | {old: new}
        self.outputs = tuple(map(other, self.outputs))
        for i, node in enumerate(self.nodes):
            if any(x is old for x in node.inputs):
                args, kwargs = tree.map_structure(other, node.args), tree.map_structure(other, node.kwargs)
                self.nodes[i] = dataclasses.replace(node, args=args, kwargs=kwargs)

    def result(self) -> Graph:
        """The rewritten graph."""
        structure = tree.map_structure(lambda x: self.replaced.get(x, x), self.graph.structure)
        return dataclasses.replace(
            self.graph, nodes=tuple(self.nodes), outputs=self.outputs, structure=structure, notes=tuple(self.notes)
        )
