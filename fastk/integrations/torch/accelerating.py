"""`accelerate`: forwards of a module's instances that run its chains of layers as fastk's fused ops.

What is changed is one attribute: `forward`, on the instances and not on their classes. A container gets a
`TracedForward`, which at its first call of a kind becomes a function made of a graph (`tracing`, `rewriting`); a layer
that is one op gets a `SingleForward`. Both call the class's own forward where anything speaks against it, and keep the
reason. Parameters, buffers, hooks, names and state dicts are not touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from fastk.integrations.torch import recurrent, single
from fastk.integrations.torch.report import Fused, Kept, Report
from fastk.integrations.torch.rewriting import FUSED, Rewriting
from fastk.integrations.torch.tracing import (
    GLOBAL_HOOKS,
    PLAIN,
    Forward,
    Guards,
    Trace,
    has_hooks,
    has_own_forward,
    is_leaf,
    reason_of,
)
from fastk.layers import Layer

MOST_PROGRAMS = 8
"""The latest states of a module, for calls of one kind, that are known without a trace."""

MOST_TRACES = 64
"""A module whose calls or state are new each time runs as it is after so many."""

_SINGLE: dict[type, tuple[Callable[..., Any], Callable[[Any], str | None], str]] = {
    nn.LSTM: (recurrent.lstm, recurrent.refusal_of, "lstm"),
    nn.GRU: (recurrent.gru, recurrent.refusal_of, "gru"),
    nn.LayerNorm: (single.layer_norm, single.refusal_of, "layer_norm"),
    nn.MaxPool2d: (single.max_pool_2d, single.refusal_of, "max_pool2d"),
    nn.CrossEntropyLoss: (single.cross_entropy, single.refusal_of, "softmax_cross_entropy"),
}
_GPU_ALONE = ("lstm", "layer_norm", "softmax_cross_entropy")
Module = TypeVar("Module", bound=nn.Module)


def accelerate(module: Module) -> Module:
    """Has a module, and all that are in it, compute chains of layers by fastk's fused ops; returns it.

    Fused are Linear → activation → dropout; Conv2d → BatchNorm2d → activation, and MaxPool2d, in chains of
    channels-last images; LSTM and GRU, LayerNorm, CrossEntropyLoss. Activations, dropout and pools may be functions
    (`F.relu`, `x.relu()`, `F.dropout`, `F.max_pool2d`). `explain` lists what is fused and what is not, with the reason.

    Parameters, buffers, names, hooks and state dicts stay what they are; so `load_state_dict`, `train`, `eval`, `to`,
    `copy.deepcopy`, pickling, `DistributedDataParallel` and optimizers work as before. `restore` undoes it. Within
    `torch.compile` the module is as it was.

    Args:
        module: any module; its forward need not be one that can be traced.

    Raises:
        TypeError: it is no `nn.Module`, or one of fastk's layers, which need none of it.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Dropout(0.1))
    >>> print(explain(accelerate(model)))
    Sequential, accelerated by fastk
    fused:
      0 + 1 + 2 → dense(gelu, dropout)
    as in torch:
      nothing
    """
    if not isinstance(module, nn.Module) or isinstance(module, Layer):
        raise TypeError(
            f"`accelerate` takes a torch.nn.Module of torch's layers. Received {module!r} (of type {type(module)})."
        )
    for each in module.modules():
        if "forward" in each.__dict__:  # ours, or the user's
            continue
        if type(each) in _SINGLE:
            each.forward = SingleForward(each)
        elif not is_leaf(each) and type(each) not in (nn.ModuleList, nn.ModuleDict):
            each.forward = TracedForward(each)
    return module


def restore(module: Module) -> Module:
    """Undoes `accelerate` in a module and all that are in it; returns it.

    >>> is_accelerated(restore(accelerate(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))))
    False
    """
    for each in module.modules():
        if isinstance(each.__dict__.get("forward"), Forward):
            del each.forward
    return module


def is_accelerated(module: nn.Module) -> bool:
    """Whether `accelerate` has been called on the module, or on one around it, and not undone.

    >>> is_accelerated(accelerate(nn.LSTM(3, 4))), is_accelerated(nn.LSTM(3, 4))
    (True, False)
    """
    return any(isinstance(each.__dict__.get("forward"), Forward) for each in module.modules())


def explain(module: nn.Module) -> Report:
    """What runs fused in an accelerated module, and what does not and why; `print` shows it.

    It is that of the calls so far; of a module that was not called yet, of a call with a tensor for each argument that
    has no default.

    Raises:
        ValueError: the module is not accelerated.

    >>> report = explain(accelerate(nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU())))
    >>> report.kept[0].reason
    'leaky_relu with negative_slope=0.01, and fastk has it with negative_slope=0.2'
    """
    if not is_accelerated(module):
        raise ValueError(f"This {type(module).__name__} is not accelerated: call accelerate(module) first.")
    report = Report(f"{type(module).__name__}, accelerated by fastk")
    _tell(module, "", report, {})
    return report


class SingleForward(Forward):
    """The forward of a layer that one op computes.

    declined: why calls were left to torch.
    """

    def __init__(self, module: nn.Module):
        super().__init__(module)
        self.run, _, self.op = _SINGLE[type(module)]
        self.declined: dict[str, None] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's result."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self.original(*args, **kwargs)
        result = self.run(self.module, *args, **kwargs)
        if isinstance(result, single.Declined):
            self.declined[result.reason] = None
            return self.original(*args, **kwargs)
        return result


@dataclass
class _Program:
    """What calls of one kind run, while the module is as it was.

    run: a function of the module and the tensors; None where the module's own forward runs.
    guards: what has to be as it was.
    fused, kept: for the report.
    inlined, skipped: the modules whose forwards are part of it, and those that fused calls stand for.
    """

    run: Callable[..., Any] | None
    guards: Guards
    fused: list[Fused]
    kept: list[Kept]
    inlined: list[nn.Module]
    skipped: list[nn.Module]


class TracedForward(Forward):
    """The forward of a container: of each kind of calls, and state of the module, a function with fused calls."""

    def __init__(self, module: nn.Module):
        super().__init__(module)
        self._programs: dict[tuple, list[_Program]] = {}
        self._traces = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or any(GLOBAL_HOOKS):
            return self.original(*args, **kwargs)
        kind = _kind(args, kwargs)
        if kind is None:
            return self.original(*args, **kwargs)
        run = self.program(kind, args, kwargs).run
        if run is None:
            return self.original(*args, **kwargs)
        given = (*args, *kwargs.values()) if kwargs else args
        return run(self.module, *[x for x in given if isinstance(x, Tensor)])

    def program(self, kind: tuple, args: tuple, kwargs: dict[str, Any]) -> _Program:
        """What a call of this kind runs, the module being as it is."""
        programs = self._programs.get(kind, [])
        for program in programs:
            if program.guards.hold():
                return program
        if self._traces >= MOST_TRACES:
            return self._left
        self._traces += 1
        program = _traced(self.module, args, kwargs)
        self._programs[kind] = [*programs[1 - MOST_PROGRAMS :], program]
        return program

    @property
    def _left(self) -> _Program:
        reason = f"numbers in its calls, or its state, were new {MOST_TRACES} times; new ones are not traced any more"
        return _Program(None, Guards([], []), [], [Kept("", reason)], [self.module], [])

    @property
    def latest(self) -> _Program:
        """The program made last; before the first call, that of a call with one tensor an argument without default."""
        if self._traces >= MOST_TRACES:
            return self._left
        if not self._programs:
            parameters = inspect.signature(type(self.module).forward).parameters.values()
            needed = [p for p in list(parameters)[1:] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            args = (torch.empty(0),) * len(needed)
            return self.program(_kind(args, {}) or (), args, {})
        return next(reversed(self._programs.values()))[-1]


def _kind(args: tuple, kwargs: dict[str, Any]) -> tuple | None:
    """What decides the way of a call beside the module's state; None where an argument is no tensor or plain value."""
    values: list[Any] = []
    for x in (*args, *kwargs.values()) if kwargs else args:
        if type(x) is Tensor:
            values.append(Tensor)
        elif isinstance(x, fx.Proxy) or not isinstance(x, (Tensor, *PLAIN)):
            return None
        else:
            values.append(Tensor if isinstance(x, Tensor) else (type(x), x))
    modes = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )
    return (*values, *kwargs, modes)


def _traced(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> _Program:
    """The program of a call."""
    try:
        trace = Trace(module, args, kwargs)
        rewriting = Rewriting(trace.graph, module)
        run = _compiled(trace.graph) if rewriting.fused else None
    except Exception as error:  # of whatever kind the user's code raises of a stand-in: the reason is kept
        return _Program(None, Guards([module], []), [], [Kept("", reason_of(error))], [module], [])
    guards = Guards([*_around(module, trace.inlined), *rewriting.skipped], [*trace.inlined[1:], *rewriting.skipped])
    kept = [Kept(name, reason) for name, reason in trace.reasons.items()]
    return _Program(run, guards, rewriting.fused, [*kept, *rewriting.kept], trace.inlined, rewriting.skipped)


def _around(module: nn.Module, inlined: list[nn.Module]) -> list[nn.Module]:
    """The inlined modules, and the lists and dicts of modules in them."""
    lists = [m for each in inlined for m in each.children() if isinstance(m, (nn.ModuleList, nn.ModuleDict))]
    return list(dict.fromkeys([*inlined, *lists]))


def _compiled(graph: fx.Graph) -> Callable[..., Any]:
    """A graph as a function of the module and the tensors."""
    code = graph.python_code("self")
    names = dict(code.globals)
    exec(compile(code.src, "<accelerated forward>", "exec"), names)
    return names["forward"]


def _tell(module: nn.Module, name: str, report: Report, seen: dict[int, None]) -> None:
    """Adds a module's rows, and those of the modules in it that its own rows do not speak of."""
    if id(module) in seen:
        return
    seen[id(module)] = None
    prefix = f"{name}." if name else ""
    forward = module.__dict__.get("forward")
    inlined: list[nn.Module] = []
    if isinstance(forward, SingleForward):
        refusal = _SINGLE[type(module)][1](module)
        if refusal is not None:
            report.kept.append(Kept(name, refusal))
            return
        note = f"on a GPU; {single.SAME_ON_CPU}" if forward.op in _GPU_ALONE else ""
        declined = [reason for reason in forward.declined if reason != single.SAME_ON_CPU]
        notes = [note, *(f"not for {reason}" for reason in declined)]
        report.fused.append(Fused((name or type(module).__name__,), forward.op, "; ".join(filter(None, notes))))
    elif isinstance(forward, TracedForward):
        if has_hooks(module) and name:
            report.kept.append(Kept(name, "a hook is registered on it: what is around it is not fused with it"))
        program = forward.latest
        inlined = program.inlined
        report.fused += [
            Fused(tuple(_full(module, prefix, m) for m in row.members), row.op, row.note) for row in program.fused
        ]
        for row in program.kept:
            row = Kept(prefix + row.name if row.name else name, row.reason)
            if row not in report.kept:
                report.kept.append(row)
        seen |= dict.fromkeys([id(each) for each in (*inlined, *program.skipped)])
    elif has_own_forward(module):
        report.kept.append(Kept(name, "the instance has a forward of its own"))
    elif is_leaf(module) and next(module.parameters(recurse=False), None) is not None:
        told = {row.name for row in report.kept}.union(*(row.members for row in report.fused))
        if name not in told:
            reason = (
                "it is called by code that is not traced" if isinstance(module, FUSED) else "fastk has no op for it"
            )
            report.kept.append(Kept(name, f"{reason} ({type(module).__name__})"))
        return
    for container in inlined or [module]:
        own = next((path for path, m in module.named_modules() if m is container), "")
        for child_name, child in container.named_children():
            _tell(child, prefix + (f"{own}." if own else "") + child_name, report, seen)


def _full(module: nn.Module, prefix: str, member: str) -> str:
    """The name of a module from the outermost one; that of a function as it is."""
    return prefix + member if member in dict(module.named_modules()) else member
