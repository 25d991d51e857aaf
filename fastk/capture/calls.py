"""How a recorded op is called again: into a given place, and with the least overhead.

An `OpOverload` called from Python takes 3.3 us before any work, the function that torch generates for it 0.9; and
`out=` variants, where the CPU has a kernel for them, write the result where it is wanted.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fastk import tree
from fastk.capture.recorder import Call, DispatchMode, Ref

below_autograd = torch._C._AutoDispatchBelowAutograd
"""A context in which calls go past autograd, to the backend."""

_C: Any = torch._C
_BINDINGS = (_C._VariableFunctions, _C._nn, _C._special, torch.Tensor)
_aten = torch.ops.aten
# Their `out=` variants take other memory for the result, and warn of it.
_WITHOUT_PLACES = {_aten.mse_loss.default, _aten.binary_cross_entropy.default}
_ALLOCATE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"}
_COPY = {_aten.clone.default, _aten._to_copy.default, _aten.contiguous.default}
_FILL = {"full", "zeros", "ones", "arange", "scalar_tensor", "linspace", "eye",
         "full_like", "zeros_like", "ones_like", "new_full", "new_zeros", "new_ones"}  # fmt: skip


def makes_memory_alone(function: Any) -> bool:
    """Whether an op returns memory whose contents do not matter."""
    return _opname(function) in _ALLOCATE


def is_copy(call: Call) -> bool:
    """Whether a call writes its first argument, in another type or layout, to new memory."""
    return call.function in _COPY


def is_constant(call: Call) -> bool:
    """Whether the result follows from the shapes and the numbers among the arguments."""
    return not call.is_host_call and _opname(call.function) in _FILL


def _opname(function: Any) -> str:
    is_aten = isinstance(function, torch._ops.OpOverload) and function.namespace == "aten"
    return function._opname if is_aten else ""


@dataclass(frozen=True, slots=True)
class Binding:
    """How to call an op again.

    function: what to call.
    out_names: the arguments to add, which take the tensors for the results: one for each, or one for all in a tuple;
        none where the function returns its results.
    """

    function: Callable[..., Any]
    out_names: tuple[str, ...] = ()


def bind(call: Call) -> Binding:
    """How to make a recorded call with results in places given to it, or else as it was made."""
    overload = call.function
    args, kwargs = of_zeros(call.args), of_zeros(call.kwargs)
    is_random = torch.Tag.nondeterministic_seeded in overload.tags  # a trial would draw numbers
    if not (overload._schema.is_mutable or is_random or overload in _WITHOUT_PLACES):
        out, names = _out_variant(overload)
        results = tuple(ref for ref in call.outputs if ref is not None)
        for keys in (("out",), names) if out is not None else ():
            quick = _quick(out, args, kwargs | out_arguments(keys, of_zeros(results)))
            if quick is not None and _keeps_places(quick, args, kwargs, keys, results):
                return Binding(quick, keys)
        if out is not None and _keeps_places(out, args, kwargs, names, results):
            return Binding(out, names)
    return Binding(_quick(overload, args, kwargs) or overload)


def out_arguments(names: tuple[str, ...], places: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments `names` of an `out=` variant for results in `places`."""
    if len(names) < len(places):
        return {names[0]: places}
    return dict(zip(names, places, strict=True))


def of_zeros(structure: Any) -> Any:
    """Noted arguments with zeros of the same shapes and strides in the place of the tensors."""
    if isinstance(structure, Ref):
        return torch.empty_strided(structure.size, structure.stride, dtype=structure.dtype).zero_()
    if isinstance(structure, (list, tuple)):
        return type(structure)([of_zeros(x) for x in structure])
    if isinstance(structure, dict):
        return {key: of_zeros(x) for key, x in structure.items()}
    return structure


def _keeps_places(function: Callable, args: tuple, kwargs: dict, names: tuple[str, ...], results: tuple) -> bool:
    """Whether an `out=` variant leaves the tensors for its results where they lie (not all do)."""
    places = of_zeros(results)
    before = [(x.data_ptr(), x.shape, x.stride()) for x in places]
    try:
        with torch.no_grad(), below_autograd(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(*args, **kwargs, **out_arguments(names, places))
    except RuntimeError:
        return False  # such as one that takes results of another layout alone
    return before == [(x.data_ptr(), x.shape, x.stride()) for x in places]


@functools.cache
def _out_variant(overload: Any) -> tuple[Any, tuple[str, ...]]:
    if not isinstance(overload, torch._ops.OpOverload) or overload._schema.is_mutable:
        return None, ()
    plain = [(a.name, str(a.type)) for a in overload._schema.arguments]
    for name in overload.overloadpacket.overloads():
        candidate = getattr(overload.overloadpacket, name)
        arguments = candidate._schema.arguments
        outs = [a for a in arguments if a.alias_info is not None and a.alias_info.is_write]
        others = [(a.name, str(a.type)) for a in arguments if a not in outs]
        if (
            len(outs) == len(overload._schema.returns)
            and all(a.is_out for a in outs)
            and others == plain
            and torch._C._dispatch_has_kernel_for_dispatch_key(candidate.name(), "CPU")
        ):
            return candidate, tuple(a.name for a in outs)
    return None, ()


class _Seen(Exception):
    """Ends a trial call at the moment of dispatch, before anything is computed."""


class _Trial(DispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.seen = (func, args, kwargs or {})
        raise _Seen


def _quick(overload: Any, args: tuple, kwargs: dict[str, Any]) -> Callable | None:
    """The function that torch's bindings have for an op, if it dispatches to that op, of these arguments."""
    name = overload._schema.name.removeprefix("aten::")
    for owner in _BINDINGS:
        function = getattr(owner, name, None)
        if function is None:
            continue
        trial = _Trial()
        try:
            with torch.no_grad(), trial:
                function(*args, **kwargs)
        except _Seen:
            if trial.seen[0] == overload and _arguments(overload, *trial.seen[1:]) == _arguments(
                overload, args, kwargs
            ):
                return function
        except (TypeError, RuntimeError, ValueError):
            continue  # it takes other arguments than the op
    return None


def _arguments(overload: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an op by their names, defaults too (bindings may have others), tensors by their identity."""
    schema = overload._schema.arguments
    given = dict(zip((a.name for a in schema), args, strict=False)) | kwargs
    if "out" in given and isinstance(given["out"], tuple):
        given |= dict(zip((a.name for a in schema if a.is_out), given.pop("out"), strict=True))
    elif "out" in given:
        given[next(a.name for a in schema if a.is_out)] = given.pop("out")
    named = {a.name: given.get(a.name, a.default_value) for a in schema}
    return {key: tree.map_structure(lambda x: id(x) if isinstance(x, torch.Tensor) else x, value)
            for key, value in named.items()}  # fmt: skip
