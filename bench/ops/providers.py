"""Who computes the ops: for each provider the calls that are timed and the values that are checked."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fastk import dispatch
from fastk.bench.ops.cases import Case
from fastk.bench.ops.rivals import SAME, Prepared
from fastk.bench.results import ours

PROVIDERS = {
    "fastk": "fastk, the implementation that dispatch takes",
    "fastk-triton": "fastk's Triton kernels, asked for by name",
    "fastk-cupy": "fastk's CUDA C kernels through CuPy, asked for by name",
    "fastk-aten": "fastk's functions of torch's ATen, asked for by name",
    "torch": "torch as its users write it, in the layouts that it is fastest in",
    "torch.compile": "the same through torch.compile (max-autotune on a GPU)",
    "library": "the vendor's one call for it (cuBLASLt, cuDNN), where torch has such a call",
    "jax": "a function of JAX, compiled by XLA; on a CPU alone",
    "floor": "the product alone, without what comes after it: no rival, and not checked",
}
QUICK = ("fastk", "torch")


@dataclass(frozen=True)
class Contender:
    """One provider with one case.

    Args:
        forward: the call without autograd.
        both: the call with its backward pass; None where there is none.
        values: result and gradients in the layouts of the case; None for what is not checked.
        ran: what dispatch took, for fastk.
    """

    forward: Callable[[], Any]
    both: Callable[[], Any] | None
    values: Callable[[], tuple[Tensor, ...]] | None
    ran: Callable[[], str | None] = lambda: None


class NotHere(Exception):
    """A provider that does not take part, with the reason."""


def contender(name: str, case: Case, inputs: tuple[Tensor, ...], g: Tensor | None) -> Contender:
    """A provider's calls.

    Args:
        name: of `PROVIDERS`.
        case: what is computed.
        inputs: the operands; never written to.
        g: the gradient of the result; None for an op without.

    Raises:
        NotHere: the provider does not compute this op, or not on this device.
    """
    if case.results:
        inputs = tuple(x.clone() for x in inputs)
    if ours(name):
        return _fastk("auto" if name == "fastk" else name.removeprefix("fastk-"), case, inputs, g)
    if name == "jax":
        return _jax(case, inputs, g)
    rival = case.rivals.get("torch" if name == "torch.compile" else name)
    if rival is None:
        raise NotHere("it has no such call")
    device = inputs[0].device.type
    if device not in rival.devices:
        raise NotHere(f"it runs on {' and '.join(rival.devices)} alone")
    prepared = rival.prepare(inputs)
    if name == "torch.compile":
        prepared = _compiled(prepared, device)
    return _of(prepared, None if rival.forward_only else g, checked=name != "floor")


def _of(prepared: Prepared, g: Tensor | None, checked: bool = True, ran: Callable[[], str | None] = lambda: None):
    def forward() -> Any:
        with torch.no_grad():
            return prepared.call(*prepared.leaves)

    own = None if g is None else prepared.result.to(g)
    both = None if own is None else functools.partial(prepared.gradients, own)
    return Contender(forward, both, functools.partial(prepared.values, g) if checked else None, ran)


def takes_part(name: str, case: Case) -> bool:
    """Whether a provider has anything to do with an op."""
    if name == "jax":
        return case.jax is not None
    if name == "torch.compile":
        return not case.results
    return ours(name) or name in case.rivals


def _fastk(implementation: str, case: Case, inputs: tuple[Tensor, ...], g: Tensor | None) -> Contender:
    op = f"{case.op}_" if case.results else case.op
    refusal = dispatch.availability(op, inputs[0].device.type).get(implementation)
    if refusal is not None:
        raise NotHere(refusal)
    call = functools.partial(case.call, implementation=implementation)
    prepared = Prepared(call, inputs, (SAME,) * len(inputs), SAME, results=case.results)

    return _of(prepared, g, ran=lambda: dispatch.last_choices()[op].implementation)


def _compiled(prepared: Prepared, device: str) -> Prepared:
    torch._dynamo.reset()  # the next case is another graph, not a recompilation of this one
    mode = "max-autotune-no-cudagraphs" if device == "cuda" else "default"  # graphs are captured for all alike
    return replace(prepared, call=torch.compile(prepared.call, dynamic=False, mode=mode))


def _jax(case: Case, inputs: tuple[Tensor, ...], g: Tensor | None) -> Contender:
    if importlib.util.find_spec("jax") is None:
        raise NotHere("not installed: pip install jax")
    if inputs[0].is_cuda:
        raise NotHere("times on a GPU are those of CUDA graphs, which calls of JAX are no part of")
    if case.jax is None or inputs[0].dtype != torch.float32:
        raise NotHere("it is measured in float32 alone")
    import jax  # type: ignore[import-not-found]

    function = case.jax()
    arrays = [jax.numpy.asarray(x.detach().numpy()) for x in inputs]
    wanted = tuple(place for place, x in enumerate(inputs) if x.requires_grad)
    run = jax.jit(function)

    @jax.jit
    def differentiated(upstream: Any, *operands: Any) -> Any:
        def of(*leaves: Any) -> Any:
            filled = list(operands)
            for place, leaf in zip(wanted, leaves, strict=True):
                filled[place] = leaf
            return function(*filled)

        y, pull = jax.vjp(of, *[operands[place] for place in wanted])
        return y, *pull(upstream)

    upstream = None if g is None else jax.numpy.asarray(g.numpy())

    def both() -> Any:
        return jax.block_until_ready(differentiated(upstream, *arrays))

    def values() -> tuple[Tensor, ...]:
        found = both() if g is not None else (run(*arrays),)
        return tuple(torch.from_numpy(numpy_of(value)) for value in found)

    return Contender(lambda: jax.block_until_ready(run(*arrays)), None if g is None else both, values)


def numpy_of(array: Any) -> Any:
    """An array of JAX as one of numpy that may be written to, as torch wants it."""
    import numpy as np

    return np.array(array)
