"""The graph of a forward, its chains of layers replaced by fused calls.

| chain | becomes |
|---|---|
| Linear, activation, dropout; the first and one more | `Dense` |
| Conv2d, batch normalization, activation; the first alone, too | `Convolution` |
| BatchNorm2d, activation; the first alone, too | `Normalization` |
| MaxPool2d, `F.max_pool2d` | `MaxPool` |

A link of a chain is a result that one call alone reads. The fused call stands where the first one stood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import fx, nn

from fastk.integrations.torch import activations
from fastk.integrations.torch.activations import Unknown
from fastk.integrations.torch.fused import Border, Chain, Convolution, Dense, Dropout, MaxPool, Normalization, pair
from fastk.integrations.torch.report import Fused, Kept
from fastk.integrations.torch.tracing import has_hooks, has_own_forward

# Calls that give images which lie in memory like those that they are given: they do not end a chain of images.
_SAME_LAYOUT = (
    nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.Conv2d, nn.Dropout, nn.Dropout2d, nn.Identity,
    nn.MaxPool2d, nn.Upsample, *activations.MODULES,
)  # fmt: skip
_SAME_LAYOUT_FUNCTIONS = frozenset(
    [
        "add",
        "iadd",
        "add_",
        "sub",
        "mul",
        "imul",
        "mul_",
        "maximum",
        "clamp",
        "cat",
        "concat",
        "dropout",
        "interpolate",
        "pad",
        "adaptive_avg_pool2d",
        "avg_pool2d",
        "max_pool2d",
    ]
)
# Calls whose results are the same, also in how they lie in memory, however the images lie.
_ANY_LAYOUT = frozenset(["flatten", "mean", "sum", "amax", "reshape", "size", "dim", "getattr", "numel"])
FUSED = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)  # and nothing that is derived from them
_POOLS = (F.max_pool2d, torch.max_pool2d)
_DROPOUTS = (F.dropout, torch.dropout)


class Rewriting:
    """The graph of a module, its chains replaced in place.

    fused, kept: for the report.
    skipped: the modules whose calls are in fused ones.
    """

    def __init__(self, graph: fx.Graph, root: nn.Module):
        self.graph = graph
        self.fused: list[Fused] = []
        self.kept: list[Kept] = []
        self.skipped: list[nn.Module] = []
        self._modules = dict(root.named_modules())
        self._taken: set[fx.Node] = set()
        self._images: dict[fx.Node, Chain] = {}  # results of calls in chains of images
        self._convs: dict[fx.Node, set[nn.Conv2d]] = {}  # those that such a result has come through
        self._entered: dict[Chain, fx.Node] = {}
        self._rows: list[Fused | tuple[Any, tuple[str, ...], str]] = []  # of images once their chains are known
        for node in list(graph.nodes):
            if node in self._taken:
                continue
            module = self._module(node)
            if type(module) is nn.Linear:
                self._linear(node, module)
            elif type(module) is nn.Conv2d:
                self._convolution(node, module)
            elif type(module) is nn.BatchNorm2d:
                self._normalization(node, module)
            elif type(module) is nn.MaxPool2d or (node.op == "call_function" and node.target in _POOLS):
                self._pool(node, module)
            else:
                self._leave(node)
        for chain, entered in self._entered.items():
            if chain.windows > 1:
                self._close(chain, entered)
        for row in self._rows:
            if isinstance(row, Fused):
                self.fused.append(row)
            else:
                self._tell(*row)

    # ------------------------------------------------------------ chains of calls

    def _module(self, node: fx.Node | None) -> nn.Module | None:
        """The module that a node calls with one argument, where nothing else is to happen at the call."""
        if node is None or node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return None
        module = self._modules[str(node.target)]
        return None if has_hooks(module) or has_own_forward(module) else module

    def _next(self, node: fx.Node) -> fx.Node | None:
        """The only call that reads a result, if it reads nothing else."""
        users = list(node.users)
        if len(users) != 1 or users[0].all_input_nodes != [node] or users[0].args[:1] != (node,):
            return None
        return users[0]

    def _activation(self, node: fx.Node | None) -> str | Unknown | None:
        if node is None:
            return None
        if node.op in ("call_function", "call_method"):
            return activations.of_call(node.target, node.args[1:], node.kwargs)
        module = self._module(node)
        return None if module is None else activations.of_module(module)

    def _dropout(self, node: fx.Node | None) -> Dropout | None:
        module = self._module(node)
        if isinstance(module, nn.Dropout) and type(module) is nn.Dropout:
            return Dropout(module)
        if node is None or node.op != "call_function" or node.target not in _DROPOUTS:
            return None
        given = dict(zip(("p", "training"), node.args[1:], strict=False)) | dict(node.kwargs)
        p, training = given.get("p", 0.5), given.get("training", True)
        return Dropout(None, p, training) if isinstance(p, float) and isinstance(training, bool) else None

    def _replace(self, nodes: list[fx.Node], call: Callable[..., Any]) -> fx.Node:
        """One call in the place of several; `nodes[0]` has the argument."""
        with self.graph.inserting_before(nodes[0]):
            new = self.graph.call_function(call, (nodes[0].args[0],))
        nodes[-1].replace_all_uses_with(new)
        for node in reversed(nodes):
            self.graph.erase_node(node)
        self._taken.update(nodes)
        self.skipped += [self._modules[str(node.target)] for node in nodes if node.op == "call_module"]
        return new

    # ------------------------------------------------------------ what is fused

    def _linear(self, node: fx.Node, module: nn.Linear) -> None:
        nodes = [node]
        follower = self._next(node)
        activation, refusal = _known(self._activation(follower))
        if activation is not None and follower is not None:
            nodes.append(follower)
            follower = self._next(follower)
        dropout = self._dropout(follower)
        if dropout is not None and follower is not None:
            nodes.append(follower)
        names = tuple(map(_name, nodes))
        if len(nodes) == 1:
            several = len(node.users) > 1
            nothing = "several calls read its result" if several else "no activation or dropout follows it"
            self.kept.append(Kept(names[0], refusal or nothing))
            return
        parts = [activation] if activation else []
        parts += ["dropout"] if dropout is not None else []
        self._replace(nodes, Dense(module, activation, dropout))
        note = f"after it {refusal}" if refusal else ""
        self._rows.append(Fused(names, f"dense({', '.join(parts)})", note))

    def _convolution(self, node: fx.Node, module: nn.Conv2d) -> None:
        if module.padding_mode != "zeros":
            self.kept.append(Kept(_name(node), f"it pads by {module.padding_mode!r}, and fastk's conv2d with zeros"))
            return
        nodes, follower = [node], self._next(node)
        norm = self._module(follower)
        if not (isinstance(norm, nn.BatchNorm2d) and type(norm) is nn.BatchNorm2d):
            norm = None
        elif follower is not None:
            nodes.append(follower)
            follower = self._next(follower)
        self._image(nodes, follower, lambda chain, act: Convolution(chain, module, norm, act), 1)

    def _normalization(self, node: fx.Node, module: nn.BatchNorm2d) -> None:
        self._image([node], self._next(node), lambda chain, act: Normalization(chain, module, act), 0)

    def _pool(self, node: fx.Node, module: nn.Module | None) -> None:
        keys = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
        if module is not None:
            given = {key: getattr(module, key) for key in keys}
        else:
            given = defaults | dict(zip(keys, node.args[1:], strict=False)) | dict(node.kwargs)
        refusal = pool_refusal(given)
        if refusal is not None:
            self.kept.append(Kept(_name(node), refusal))
            self._continue(node)
            return
        window = given["kernel_size"], given["stride"], given["padding"]
        self._image([node], None, lambda chain, _: MaxPool(chain, *window), 1)

    def _image(self, nodes: list[fx.Node], follower: fx.Node | None, make: Callable[..., Any], windows: int) -> None:
        """Replaces a call on images, and the activation that follows it."""
        activation, _ = _known(self._activation(follower))
        if activation is not None and follower is not None:
            nodes = [*nodes, follower]
        before = nodes[0].args[0]
        assert isinstance(before, fx.Node)
        chain = self._images.get(before)
        if chain is None:
            chain = Chain()
            self._entered[chain] = before
        chain.windows += windows
        module = self._module(nodes[0])
        convs = self._convs.get(before, set()) | ({module} if isinstance(module, nn.Conv2d) else set())
        call = make(chain, activation)
        names = tuple(map(_name, nodes))
        new = self._replace(nodes, call)
        self._images[new], self._convs[new] = chain, convs
        self._rows.append((call, names, activation or ""))

    def _leave(self, node: fx.Node) -> None:
        """A call that nothing is done with; says why where a layer of its kind is fused."""
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            if isinstance(module, FUSED):
                hooked = "a hook is registered on it" if has_hooks(module) else None
                own = "the instance has a forward of its own" if has_own_forward(module) else None
                self.kept.append(Kept(_name(node), hooked or own or f"it is a {type(module).__name__}"))
        if self._keeps_layout(node):
            self._continue(node)

    # ------------------------------------------------------------ chains of images

    def _keeps_layout(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self._modules[str(node.target)]) in _SAME_LAYOUT
        name = _function_name(node)
        return name in _SAME_LAYOUT_FUNCTIONS or name.removesuffix("_") in activations.RULES

    def _continue(self, node: fx.Node) -> None:
        """Takes a call that leaves the layout as it is into the chain of its images, and joins the chains that meet."""
        chains = list(dict.fromkeys(self._images[x] for x in node.all_input_nodes if x in self._images))
        if not chains:
            return
        self._images[node] = first = chains[0]
        self._convs[node] = set().union(*(self._convs.get(x, ()) for x in node.all_input_nodes))
        for other in chains[1:]:
            first.windows += other.windows
            self._entered.pop(other)
            self._images = {x: first if chain is other else chain for x, chain in self._images.items()}
            for row in self._rows:
                if not isinstance(row, Fused) and row[0].chain is other:
                    row[0].chain = first

    def _close(self, chain: Chain, entered: fx.Node) -> None:
        """Puts a `Border` between the chain and the calls that may depend on how images lie in memory."""
        for node in [node for node, own in self._images.items() if own is chain]:
            users = [user for user in node.users if user not in self._images and not self._takes_any_layout(user)]
            if users:
                with self.graph.inserting_after(node):
                    border = self.graph.call_function(Border(chain, self._convs[node]), (node, entered))
                for user in users:
                    user.replace_input_with(node, border)

    def _takes_any_layout(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self._modules[str(node.target)]) is nn.Flatten
        return _function_name(node) in _ANY_LAYOUT

    def _tell(self, call: Any, names: tuple[str, ...], activation: str) -> None:
        """A row of the report for a call on images."""
        joined = call.chain.windows > 1
        if not joined and len(names) == 1:
            self.kept.append(Kept(names[0], "alone: no activation follows it, and no other convolution or pool"))
            return
        norm = isinstance(call, Normalization) or (isinstance(call, Convolution) and call.norm is not None)
        ops = ["conv2d"] if isinstance(call, Convolution) else ["max_pool2d"] if isinstance(call, MaxPool) else []
        ops += ["batch_norm"] if norm else []
        op = " + ".join(ops) + (f"({activation})" if activation else "")
        alone = "of channels-last images; of others by torch, the activation in place"
        self.fused.append(Fused(names, op, "in a chain of channels-last images" if joined else alone))


def pool_refusal(given: dict[str, Any]) -> str | None:
    """None, or why torch's own max pooling is kept."""
    if given["return_indices"]:
        return "it returns indices"
    if given["ceil_mode"]:
        return "ceil_mode=True: windows that hang over the far border"
    if given["dilation"] not in (1, (1, 1), [1, 1]):
        return f"its windows are dilated ({given['dilation']})"
    sizes = (given["kernel_size"], given["padding"])
    if not all(isinstance(x, int) or (isinstance(x, (tuple, list)) and all(type(y) is int for y in x)) for x in sizes):
        return "its sizes are computed on the way"
    if any(2 * padding > window for window, padding in zip(*map(pair, sizes), strict=True)):
        return "it pads by more than half of the window"
    return None


def _known(activation: str | Unknown | None) -> tuple[str | None, str | None]:
    """(name, why there is none although an activation follows)."""
    return (None, activation.reason) if isinstance(activation, Unknown) else (activation, None)


def _function_name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else _function_name(node)
