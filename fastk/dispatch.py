"""Which implementation of an op runs, and the sentence that says why.

An op lives in `kernels/<folder>/`; each file beside the contract is an implementation of it: `aten.py`,
`triton_kernels.py`, `cupy_kernels.py`. A file that exists is found, so adding an implementation is adding a file.
In `aten.py` the function called like the op is differentiable by torch; in the others `<op>_forward` is its forward
part, and `fastk.autograd` joins it to its gradients. A module may define `supports(op, *arguments)`, which returns None
or a sentence saying why not.

Nothing falls back in silence: `choose` returns its reason, `last_choices` keeps it for `explain()`, a fallback on a
GPU is logged once, and an implementation asked for by name that cannot run raises.

>>> import torch
>>> from fastk import dispatch
>>> dispatch.choose("dense", "auto", torch.ones(1)).implementation
'aten'
>>> dispatch.availability("dense", "cpu")["aten"] is None
True
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from fastk import config
from fastk.errors import ImplementationUnavailable

logger = logging.getLogger("fastk")

_FILES = {"triton": "triton_kernels", "cupy": "cupy_kernels", "aten": "aten"}
_TITLES = {"triton": "Triton", "cupy": "CuPy", "aten": "ATen"}
_ENDING = re.compile(r"(_cell)?(_forward|_backward|_[a-z]+_gradient)?_?$")
_BEST_FIRST = ("triton", "cupy", "aten")


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs an op: the implementation's name, the reason in words, and the function, forward only but in ATen."""

    op: str
    implementation: str
    reason: str
    function: Callable[..., Any]


# Choices that hold for every call with this op, request and device type, whatever the other arguments.
_settled: dict[tuple[str, str, str], Choice] = {}
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
    device_type = "cpu" if tensor.is_cpu else tensor.device.type  # is_cpu takes a third of the time
    choice = _settled.get((op, implementation, device_type))
    if choice is None:
        choice = _decide(op, implementation, device_type, arguments)
    _last[op] = choice
    return choice


def availability(op: str, device_type: str) -> dict[str, str | None]:
    """For each implementation None where it can run `op` on such a device, else the sentence that says why not.

    What depends on the other arguments of a call (dtypes, sizes) is decided by `choose`.
    """
    return {name: _why_not(op, name, device_type) for name in _BEST_FIRST}


def last_choices() -> dict[str, Choice]:
    """The latest choice made for each op, by the op's name."""
    return dict(_last)


@functools.cache
def folder(name: str) -> str:
    """The folder of `kernels/` that holds a function: its name without an ending.

    The endings are `_` (in place), `_cell` (one step), `_forward`, `_backward` and `_<of what>_gradient`.

    >>> folder("lstm_cell"), folder("adam_"), folder("conv2d_kernel_gradient")
    ('lstm', 'adam', 'conv2d')
    """
    return _ENDING.sub("", name)


def _decide(op: str, request: str, device_type: str, arguments: tuple) -> Choice:
    if request not in config.IMPLEMENTATIONS:
        names = ", ".join(map(repr, config.IMPLEMENTATIONS))
        raise ValueError(f"Unknown `implementation` of {op}: {request!r}. Expected one of {names}.")
    if _why_not(op, "aten", device_type) is not None:
        raise ValueError(f"Unknown op: {op!r}. Expected the name of a function in a folder of `kernels/`.")
    if device_type == "meta":  # shapes are the same whoever computes them
        return _settle(op, request, device_type, "aten", "a meta tensor has a shape and no data")
    if request == "auto" and device_type != "cuda":
        return _settle(op, request, device_type, "aten", f"the other kernels run on CUDA, and this is {device_type!r}")
    if request == "auto":
        return _decide_best(op, arguments)
    refusal = _why_not(op, request, device_type) or _refusal(op, request, arguments)
    if refusal is not None:
        raise ImplementationUnavailable(
            f"The {request!r} implementation of {op} was asked for by name and cannot be used: {refusal}. "
            "Pass implementation='auto', or call fastk.config.set_kernels('auto') and unset FASTK_KERNELS."
        )
    return _settle(op, request, device_type, request, "asked for by name")


def _decide_best(op: str, arguments: tuple) -> Choice:
    """On a GPU the first implementation, best first, that does not refuse; its reason names those that did."""
    refusals: list[str] = []
    by_arguments = False
    for name in _BEST_FIRST:
        refusal = _why_not(op, name, "cuda")
        if refusal is None:
            by_arguments = by_arguments or _checks_arguments(op, name)
            refusal = _refusal(op, name, arguments)
        if refusal is None:
            reason = "; ".join(refusals) or "the fastest that there is"
            if refusals:
                _log_once(op, reason)
            if by_arguments:
                return Choice(op, name, reason, _function(op, name))
            return _settle(op, "auto", "cuda", name, reason)
        refusals.append(refusal)
    raise ImplementationUnavailable(f"No implementation of {op} takes this call: {'; '.join(refusals)}.")


def _settle(op: str, request: str, device_type: str, name: str, reason: str) -> Choice:
    choice = Choice(op, name, reason, _function(op, name))
    if not _checks_arguments(op, name):
        _settled[op, request, device_type] = choice
    return choice


def _log_once(op: str, reason: str) -> None:
    """Tells of a fallback: a warning where a GPU kernel exists and is not used, else for information."""
    if (op, reason) not in _logged:
        _logged.add((op, reason))
        level = logging.WARNING if _exists(op, "triton") or _exists(op, "cupy") else logging.INFO
        logger.log(level, "%s falls back on the GPU: %s.", op, reason)


def _why_not(op: str, name: str, device_type: str) -> str | None:
    """None, or why `name` cannot run `op` on such a device, whatever the arguments."""
    title = _TITLES[name]
    missing = f"there is no {title} kernel for {op} yet"
    if not _exists(op, name):
        return missing
    if name != "aten":
        refusal = _why_not_on(name, device_type)
        if refusal is not None:
            return refusal
    return missing if _entry(op, name) is None else None


def _why_not_on(name: str, device_type: str) -> str | None:
    """None, or why the library behind an implementation does not work on such a device; asked for at first need."""
    return importlib.import_module(f"fastk.kernels.{name}_runtime").why_not(device_type)


def _module_name(op: str, name: str) -> str:
    return f"fastk.kernels.{folder(op)}.{_FILES[name]}"


@functools.cache
def _exists(op: str, name: str) -> bool:
    package = f"fastk.kernels.{folder(op)}"
    return (
        importlib.util.find_spec(package) is not None and importlib.util.find_spec(_module_name(op, name)) is not None
    )


def _module(op: str, name: str) -> ModuleType:
    return importlib.import_module(_module_name(op, name))


def _entry(op: str, name: str) -> Callable[..., Any] | None:
    module = _module(op, name)
    return getattr(module, op, None) if name == "aten" else getattr(module, f"{op}_forward", getattr(module, op, None))


def _function(op: str, name: str) -> Callable[..., Any]:
    function = _entry(op, name)
    if function is None:
        raise ImplementationUnavailable(f"There is no {_TITLES[name]} kernel for {op}.")
    return function


def kernel_function(name: str, implementation: str) -> Callable[..., Any]:
    """The function `name` (`"dense_backward"`) of an implementation's file in the folder of its op."""
    return getattr(_module(name, implementation), name)


def _checks_arguments(op: str, name: str) -> bool:
    return hasattr(_module(op, name), "supports")


def _refusal(op: str, name: str, arguments: tuple) -> str | None:
    module = _module(op, name)
    return module.supports(op, *arguments) if hasattr(module, "supports") else None
