"""A module's forward as a graph of calls, and what that graph depends on.

torch.fx calls the forward with stand-ins for tensors. All else that it looks at (flags, numbers, lists of layers) is in
the graph as it was: `Guards` notes it, to be compared at each call. What a trace would miss or get wrong makes it
`Untraceable`, and the module runs as it is: control flow by values, random numbers and tensors made on the way,
attributes that are set, gradients or autocast switched on the way, and the question what type a value is of.
"""

from __future__ import annotations

import builtins
import copy
import inspect
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _disable_current_modes

from fastk.layers import Layer

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_SHARED = (FunctionType, BuiltinFunctionType, type, ModuleType)  # compared by identity
_LONGEST = 256  # elements of a list that are compared at each call
_INTERNAL = frozenset(nn.Module().__dict__) - {"training"} | {"forward"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS: list[Any] = [
    getattr(torch_module, f"_global{name}")
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
]
_lock = threading.RLock()  # a trace replaces `nn.Module.__call__`


class Untraceable(Exception):
    """A forward cannot be a graph; the message is the reason."""


class Forward:
    """The forward of an accelerated module, an attribute of the instance."""

    def __init__(self, module: nn.Module):
        self.module = module

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """The forward of the module's class."""
        return type(self.module).forward(self.module, *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(type(self.module).forward.__get__(self.module))

    def __getattr__(self, name: str) -> Any:
        if name == "module":  # not there yet
            raise AttributeError(name)
        # Who asks for the code of a method, as torch.export does, is shown that of the class.
        return getattr(type(self.module).forward.__get__(self.module), name)

    def __reduce__(self) -> Any:
        return type(self), (self.module,)

    def __deepcopy__(self, memo: dict) -> Forward:
        return type(self)(copy.deepcopy(self.module, memo))


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module does more than its forward."""
    return any(getattr(module, name) for name in _HOOKS)


def has_own_forward(module: nn.Module) -> bool:
    """Whether somebody else has given the instance a forward."""
    return not isinstance(module.__dict__.get("forward"), (Forward, type(None)))


def is_leaf(module: nn.Module) -> bool:
    """Whether a graph calls the module whole: torch's own layers, and what is no plain module."""
    cls = type(module)
    if cls in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        return False
    library = cls.__module__.split(".")[0] == "torch" and not isinstance(module, fx.GraphModule)
    return library or isinstance(module, (torch.jit.ScriptModule, Layer))


class Trace:
    """The graph of one kind of calls of a module.

    graph: of the calls, an argument for each tensor.
    inlined: the modules whose forwards are in the graph, the module itself first.
    reasons: by name, why modules inside are called whole.
    """

    def __init__(self, root: nn.Module, args: tuple, kwargs: dict[str, Any]):
        tracer = _Tracer(root, args, kwargs)
        # A recorder of a step must not take what is compared here for a part of it.
        with _lock, _disable_current_modes(), _unchanged_random_numbers():
            self.graph = tracer.trace(root)
        self.inlined = list(dict.fromkeys(tracer.inlined))
        self.reasons = tracer.reasons


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, root: nn.Module, args: tuple, kwargs: dict[str, Any]):
        super().__init__()
        self.given, self.given_by_name = args, kwargs
        self.inlined: list[nn.Module] = [root]
        self.reasons: dict[str, str] = {}
        self.modes = _modes()

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        with ExitStack() as self.patches:
            return super().trace(root)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list]:
        args = [self._placeholder(value) for value in self.given]
        kwargs = {name: self._placeholder(value) for name, value in self.given_by_name.items()}

        def forward(*args: Any) -> Any:
            self._watch_types(self.root)
            with _unchanged_attributes(self.root):
                return root_fn(*args, **kwargs)

        return forward, [self.root, *args]

    def _placeholder(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.create_proxy("placeholder", f"x{len(self.graph.nodes)}", (), {})
        return value

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        path = self.path_of_module(m)
        if is_leaf(m) or has_hooks(m) or has_own_forward(m):
            return self.create_proxy("call_module", path, args, kwargs)
        before = len(self.graph.nodes)
        try:
            self._watch_types(m)
            with _unchanged_attributes(m), _unchanged_random_numbers():
                result = forward(*args, **kwargs)
        except Exception as error:  # of whatever kind: the reason is kept, and the module called whole
            self.reasons[path] = reason_of(error)
            for node in list(self.graph.nodes)[before:][::-1]:
                self.graph.erase_node(node)
            return self.create_proxy("call_module", path, args, kwargs)
        self.inlined.append(m)
        return result

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        if _modes() != self.modes:
            raise Untraceable("its forward switches gradients, autocast or what is saved for backward on or off")
        return super().create_node(kind, target, *args, **kwargs)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, fx.Proxy):
            return a.node
        if isinstance(a, Tensor):
            known = (*self.root.named_parameters(), *self.root.named_buffers())
            if not any(a is tensor for _, tensor in known):
                raise Untraceable("its forward computes with a tensor that is neither argument, parameter nor buffer")
        if isinstance(a, (dict, list)) and type(a) not in (dict, list, fx.immutable_collections.immutable_list):
            raise Untraceable(f"its forward makes a {type(a).__name__}")
        return super().create_arg(a)

    def _watch_types(self, module: nn.Module) -> None:
        """Has `isinstance` of a stand-in, in the file of the module's forward, answered for tensors or refused."""
        names = getattr(inspect.unwrap(type(module).forward), "__globals__", {})
        if names.get("__name__", "torch").split(".")[0] not in ("torch", "fastk"):
            before = names.get("isinstance", builtins.isinstance)
            if before is not _isinstance:
                names["isinstance"] = _isinstance
                self.patches.callback(_put_back, names, before)


_A_TENSOR = torch.empty(0)


def _put_back(names: dict[str, Any], before: Any) -> None:
    names["isinstance"] = before
    if before is builtins.isinstance:
        del names["isinstance"]


def _isinstance(value: Any, classes: Any) -> bool:
    if not isinstance(value, fx.Proxy):
        return isinstance(value, classes)
    if value.node.op == "placeholder":
        return isinstance(_A_TENSOR, classes)
    raise Untraceable("its forward asks what type a value is of")


def reason_of(error: Exception) -> str:
    """An error of a trace as the end of a sentence."""
    if isinstance(error, Untraceable):
        return str(error)
    first = str(error).strip().split("\n")[0].split(". ")[0]
    return f"its forward cannot be traced: {first}"


def _modes() -> tuple:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch._C._autograd._top_saved_tensors_default_hooks(True) is None,  # type: ignore[attr-defined]
    )


@contextmanager
def _unchanged_random_numbers() -> Iterator[None]:
    """Raises where a generator was drawn from, Python's, numpy's or torch's, and puts it back."""
    python, arrays, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    has_drawn = False
    try:
        yield
    finally:
        has_drawn = random.getstate() != python or not torch.equal(torch.get_rng_state(), own)
        for now, before in zip(np.random.get_state(), arrays, strict=True):
            has_drawn = has_drawn or bool(np.any(now != before))
        if has_drawn:
            random.setstate(python)
            np.random.set_state(arrays)
            torch.set_rng_state(own)
    if has_drawn:
        raise Untraceable("its forward draws random numbers that depend on no tensor")


@contextmanager
def _unchanged_attributes(module: nn.Module) -> Iterator[None]:
    """Raises where an attribute was set, or a list or dict of the module changed, and puts it back."""
    before = dict(module.__dict__)
    contents = {name: _copied(value) for name, value in before.items() if type(value) in (list, dict, set)}
    try:
        yield
    finally:
        now = dict(module.__dict__)
        changed = [name for name in before.keys() | now.keys() if before.get(name, now) is not now.get(name, before)]
        for name in changed:
            if name in before:
                module.__dict__[name] = before[name]
            else:
                del module.__dict__[name]
        for name, value in contents.items():
            if not _same_elements(value, before[name]):
                _refill(before[name], value)
                changed.append(name)
    if changed:
        raise Untraceable(f"its forward sets the attribute `{sorted(changed)[0]}`")


def _copied(container: Any) -> Any:
    return type(container)(container)


def _same_elements(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        return all(x is y and v is w for (x, v), (y, w) in zip(a.items(), b.items(), strict=True))
    if isinstance(a, set):
        return {id(x) for x in a} == {id(x) for x in b}
    return all(x is y for x, y in zip(a, b, strict=True))


def _refill(container: Any, contents: Any) -> None:
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(contents)


class Guards:
    """What a trace of some modules took from them, to be compared at each call.

    Args:
        inlined: modules whose forwards are in the graph, and those whose calls are.
        unhooked: those of them that are not called any more, so that their hooks would not run.
    """

    def __init__(self, inlined: Iterable[nn.Module], unhooked: Iterable[nn.Module]):
        self.checks: list[tuple[Callable[[Any], Any], Any, Any]] = []
        for module in inlined:
            names = [n for n, v in module.__dict__.items() if n not in _INTERNAL and _is_guarded(v)]
            getter = itemgetter(*names)
            found = getter(module.__dict__)
            self.checks.append((getter, module.__dict__, _frozen(found)))
            if module._modules:
                self.checks.append((_values, module._modules, _values(module._modules)))
        unhooked = list(unhooked)
        self.checks += [(_forward_of, module.__dict__, module.__dict__.get("forward")) for module in unhooked]
        self.hooks = [getattr(module, name) for module in unhooked for name in _HOOKS]

    def hold(self) -> bool:
        """Whether all is as it was."""
        try:
            for getter, where, expected in self.checks:
                if getter(where) != expected:
                    return False
        except KeyError:
            return False
        return not any(self.hooks)


def _values(modules: dict[str, Any]) -> list[Any]:
    return list(modules.values())


def _forward_of(attributes: dict[str, Any]) -> Any:
    return attributes.get("forward")


def _is_guarded(value: Any) -> bool:
    """Whether a value can be compared: plain ones, functions, and containers of a few of these and of modules."""
    if isinstance(value, (tuple, list, dict)) and len(value) > _LONGEST:
        return False
    if isinstance(value, (tuple, list)):
        return all(_is_guarded(x) or isinstance(x, nn.Module) for x in value)
    if type(value) is dict:
        return all(_is_guarded(x) or isinstance(x, nn.Module) for x in value.values())
    return isinstance(value, (*PLAIN, *_SHARED))


def _frozen(value: Any) -> Any:
    """A value that stays when the lists and dicts in it change."""
    if type(value) is tuple:
        return tuple(map(_frozen, value))
    if type(value) is list:
        return list(map(_frozen, value))
    if type(value) is dict:
        return {key: _frozen(x) for key, x in value.items()}
    return value
