"""Which implementation of an op runs, and the sentence that says why.

An op lives in `kernels/<folder>/`; each file beside the contract is an implementation of it: `aten.py`,
`triton_kernels.py`, `cupy_kernels.py`. A file that exists is found, so adding an implementation is adding a file.
In `aten.py` the function called like the op is differentiable by torch; in the others `<op>_forward` is its forward
part, and `fastk.autograd` joins it to its gradients. A module may define `supports(op, *arguments)`, which returns None
or a sentence saying why not.

Nothing falls back in silence: `choose` returns its reason, `last_choices` keeps it for `explain()`, a fallback on a
GPU is logged once, and an implementation asked for by name that cannot run raises. Where the vendor's library was
measured faster for a call (`fastk.contest`), it runs it, and the reason has both times.

>>> import torch
>>> from fastk import dispatch
>>> dispatch.choose("dense", "auto", torch.ones(1)).implementation
'aten'
>>> dispatch.availability("dense", "cpu")["aten"] is None
True
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from fastk import config, contest
from fastk.errors import ImplementationUnavailable

__all__ = ["Candidate", "Choice", "availability", "choose", "last_choices", "recorded_choices", "why_aten"]

logger = logging.getLogger("fastk")

_FILES = {"triton": "triton_kernels", "cupy": "cupy_kernels", "aten": "aten"}
_TITLES = {"triton": "Triton", "cupy": "CuPy", "aten": "ATen"}
_ENDING = re.compile(r"(_cell)?(_forward|_backward|_[a-z]+_gradient)?_?$")
_BEST_FIRST = ("triton", "cupy", "aten")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An implementation of an op for a device type: why it cannot run, or its function and its `supports`."""

    refusal: str | None
    function: Callable[..., Any] | None = None
    supports: Callable[..., str | None] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs an op: the implementation's name, the reason in words, and the function, forward only but in ATen."""

    op: str
    implementation: str
    reason: str
    function: Callable[..., Any]


# For each (folder, device type): each implementation's module, or the sentence that says why it cannot run there.
_files: dict[tuple[str, str], dict[str, ModuleType | str]] = {}
# Choices that hold for every call with this op, request and device type, whatever the other arguments.
_settled: dict[tuple[str, str, str], Choice] = {}
_settled_mode = ""
_searched: set[str] = set()
_last: dict[str, Choice] = {}
_logged: set[tuple[str, str]] = set()


def choose(op: str, implementation: str, tensor: torch.Tensor, arguments: tuple = ()) -> Choice:
    """The implementation of `op` for a call.

    Args:
        op: the name of the op's function, e.g. `"dense"` or `"lstm_cell"`.
        implementation: `"auto"` (what `config.kernels()` says), `"triton"`, `"cupy"` or `"aten"`.
        tensor: the argument whose device decides.
        arguments: the call's positional arguments, for the `supports` of the candidates.

    Raises:
        ImplementationUnavailable: the one asked for by name cannot run this call.
    """
    if implementation == "auto":
        implementation = config.kernels()
    device_type = "cpu" if tensor.is_cpu else _other_device(tensor)  # is_cpu takes a third of the time
    choice = _settled.get((op, implementation, device_type))
    if choice is None:
        choice = _decide(op, implementation, device_type, arguments)
    _last[op] = choice
    return choice


def _other_device(tensor: torch.Tensor) -> str:
    """The type of a device that is no CPU."""
    _forget_another_mode()
    return tensor.device.type


def availability(op: str, device_type: str) -> dict[str, str | None]:
    """For each implementation None where it can run `op` on such a device, else the sentence that says why not.

    What depends on the other arguments of a call (dtypes, sizes) is decided by `choose`.
    """
    return {name: candidate.refusal for name, candidate in _candidates(op, device_type).items()}


def why_aten(op: str, device_type: str) -> str:
    """The sentence that says why ATen runs an op on a device that is no GPU."""
    _find_files(device_type)
    if all(name == "aten" for name in _files[folder(op), device_type]):
        return "there is no other kernel for it yet"
    return f"the other kernels run on CUDA, and this is {device_type!r}"


def last_choices() -> dict[str, Choice]:
    """The latest choice made for each op, by the op's name."""
    return dict(_last)


@contextlib.contextmanager
def recorded_choices() -> Iterator[dict[str, Choice]]:
    """A dictionary of the latest choice for each op, by the op's name, of those made inside."""
    global _last
    outer, _last = _last, {}
    try:
        yield _last
    finally:
        outer |= _last
        _last = outer


def folder(name: str) -> str:
    """The folder of `kernels/` that holds a function: its name without an ending.

    The endings are `_` (in place), `_cell` (one step), `_forward`, `_backward` and `_<of what>_gradient`.

    >>> folder("lstm_cell"), folder("adam_"), folder("conv2d_kernel_gradient")
    ('lstm', 'adam', 'conv2d')
    """
    return _ENDING.sub("", name)


@functools.cache
def kernel_function(name: str, implementation: str) -> Callable[..., Any]:
    """The function `name` (`"dense_backward"`) of an implementation's file in the folder of its op."""
    return getattr(_module(folder(name), implementation), name)


def _decide(op: str, request: str, device_type: str, arguments: tuple) -> Choice:
    if request not in config.IMPLEMENTATIONS:
        names = ", ".join(map(repr, config.IMPLEMENTATIONS))
        raise ValueError(f"Unknown `implementation` of {op}: {request!r}. Expected one of {names}.")
    candidates = _candidates(op, device_type)
    if candidates["aten"].refusal is not None:
        raise ValueError(f"Unknown op: {op!r}. Expected the name of a function in a folder of `kernels/`.")
    if device_type == "meta":  # shapes are the same whoever computes them
        return _settle(op, request, device_type, "aten", candidates["aten"], "a meta tensor has a shape and no data")
    if request == "auto" and device_type != "cuda":
        return _settle(op, request, device_type, "aten", candidates["aten"], why_aten(op, device_type))
    if request == "auto":
        return _decide_best(op, candidates, arguments)
    refusal = _refusal(op, candidates[request], arguments)
    if refusal is not None:
        raise ImplementationUnavailable(
            f"The {request!r} implementation of {op} was asked for by name and cannot be used: {refusal}. "
            "Pass implementation='auto', or call fastk.config.set_kernels('auto') and unset FASTK_KERNELS."
        )
    return _settle(op, request, device_type, request, candidates[request], "asked for by name")


def _decide_best(op: str, candidates: dict[str, Candidate], arguments: tuple) -> Choice:
    """On a GPU the first implementation, best first, that does not refuse; its reason names those that did."""
    refusals: list[str] = []
    by_arguments = False
    for name, candidate in candidates.items():
        by_arguments = by_arguments or candidate.supports is not None
        refusal = _refusal(op, candidate, arguments)
        if refusal is None:
            reason = "; ".join(refusals) or "the fastest that there is"
            if refusals:
                _log_once(op, reason, by_arguments)
            measured = contest.verdict(op, name, arguments) if name != "aten" and arguments else None
            if measured is not None:
                name, reason = measured
                return _settle(op, "auto", "cuda", name, candidates[name], reason, False)
            return _settle(op, "auto", "cuda", name, candidate, reason, not (by_arguments or _is_open(op)))
        refusals.append(refusal)
    raise ImplementationUnavailable(f"No implementation of {op} takes this call: {'; '.join(refusals)}.")


def _refusal(op: str, candidate: Candidate, arguments: tuple) -> str | None:
    if candidate.refusal is not None or candidate.supports is None:
        return candidate.refusal
    return candidate.supports(op, *arguments)


def _settle(
    op: str, request: str, device_type: str, name: str, candidate: Candidate, reason: str, for_good: bool = True
) -> Choice:
    if candidate.function is None:
        raise ImplementationUnavailable(f"There is no {_TITLES[name]} kernel for {op}.")
    choice = Choice(op, name, reason, candidate.function)
    if for_good and candidate.supports is None:
        _settled[op, request, device_type] = choice
    return choice


def _while_tracing(function: Callable) -> Callable:
    """Has torch.compile call a function while it traces, instead of tracing what it does.

    It is what `torch.compiler.assume_constant_result` does, which would import the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@_while_tracing
def _forget_another_mode() -> None:
    """What was settled holds for one mode of the autotuner."""
    global _settled_mode
    mode = config.autotune()
    if mode != _settled_mode:
        _settled_mode = mode
        _settled.clear()


@_while_tracing
def _is_open(op: str) -> bool:
    """Whether ATen may turn out to be the faster one for a call."""
    return contest.is_open(op)


@_while_tracing
def _log_once(op: str, reason: str, kernels_refuse: bool) -> None:
    """Tells of a fallback: a warning where a GPU kernel exists and is not used, else for information."""
    if (op, reason) not in _logged:
        _logged.add((op, reason))
        logger.log(logging.WARNING if kernels_refuse else logging.INFO, "%s falls back on the GPU: %s.", op, reason)


def _candidates(op: str, device_type: str) -> dict[str, Candidate]:
    """The implementations of an op, best first."""
    _find_files(device_type)
    files = _files.get((folder(op), device_type), {})
    return {name: _candidate(op, name, files.get(name)) for name in _BEST_FIRST}


def _candidate(op: str, name: str, file: ModuleType | str | None) -> Candidate:
    if isinstance(file, str):
        return Candidate(file)
    function = getattr(file, op, None) or getattr(file, f"{op}_forward", None)
    if function is None:
        return Candidate(f"there is no {_TITLES[name]} kernel for {op} yet")
    return Candidate(None, function, getattr(file, "supports", None))


@_while_tracing
def _find_files(device_type: str) -> None:
    """Fills `_files` for a device type, of every op at once: a trace sees a dictionary as it was at its first look."""
    if device_type in _searched:
        return
    refusals = {name: None if name == "aten" else _why_not_on(name, device_type) for name in _BEST_FIRST}
    package = importlib.import_module("fastk.kernels")
    for folder_name in (module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg):
        _files[folder_name, device_type] = {
            name: refusal or _module(folder_name, name)
            for name, refusal in refusals.items()
            if _exists(folder_name, name)
        }
    _searched.add(device_type)


def _why_not_on(name: str, device_type: str) -> str | None:
    """None, or why the library behind an implementation does not work on such a device; asked for at first need."""
    return importlib.import_module(f"fastk.kernels.{name}_runtime").why_not(device_type)


def _exists(folder_name: str, name: str) -> bool:
    return importlib.util.find_spec(f"fastk.kernels.{folder_name}.{_FILES[name]}") is not None


def _module(folder_name: str, name: str) -> ModuleType:
    return importlib.import_module(f"fastk.kernels.{folder_name}.{_FILES[name]}")
