"""How a forward and a backward kernel become one differentiable op of torch.

`define` registers a function of the implementations' files as an op `fastk::<name>` of `torch.library`: torch.compile
takes it without a graph break, fake tensors have its shapes, `torch.library.opcheck` passes on it. `differentiate`
joins a forward op to the formula of its gradients. The last argument of every op is the implementation's name.

Outside of tracing and of torch's modes the kernels are called by a plain `torch.autograd.Function`: forward and
backward of a small dense take 144 us so and 221 through `torch.library`, before any kernel (one thread of a CPU).

A second derivative (`create_graph=True`) is taken through ATen, whose ops know theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastk.dispatch import kernel_function

_library = torch.library.Library("fastk", "DEF")
_NO_DISPATCH: Any = Tensor.__torch_dispatch__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Op:
    """An op of `torch.library`; a call goes straight to `run` where nothing traces.

    overload: the op itself, `torch.ops.fastk.<name>`.
    run: what it computes, called with its arguments.
    """

    overload: Any
    run: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """The op of these arguments."""
        return self.overload(*arguments) if _traced(arguments[0]) else self.run(*arguments)


def define(schema: str, shapes: Callable[..., Any], run: Callable[..., Any] | None = None) -> Op:
    """Registers `fastk::<schema>`, which calls the function of that name in the file of its last argument.

    Args:
        schema: a schema of torch without the argument `str implementation`, which is added at the end.
        shapes: called with the arguments but the last, on tensors without data; returns such tensors.
        run: what the op does with its arguments, where that is more than calling the function.
    """
    name = schema[: schema.index("(")]
    end = schema.index(") ->")
    _library.define(f"{schema[:end]}, str implementation{schema[end:]}", tags=(torch.Tag.pt2_compliant_tag,))

    def call(*arguments: Any) -> Any:
        return kernel_function(name, arguments[-1])(*arguments[:-1])

    def fake(*arguments: Any) -> Any:
        return shapes(*arguments[:-1])

    _library.impl(name, run or call, "CompositeExplicitAutograd")
    torch.library.register_fake(f"fastk::{name}", fake, lib=_library)
    return Op(getattr(torch.ops.fastk, name).default, run or call)


@dataclass(frozen=True, slots=True)
class Call:
    """A forward call, as its gradients need it.

    arguments: those of the forward op, the implementation's name last.
    outputs: what it returned.
    needed: for each argument, whether its gradient is asked for.
    """

    arguments: tuple[Any, ...]
    outputs: tuple[Tensor, ...]
    needed: tuple[bool, ...]


Gradients = Callable[..., Sequence[Tensor | None]]


def differentiate(
    forward: Op, gradients: Gradients, aten: Callable[..., Any], results: int = 1, constants: int = 0
) -> Callable[..., Any]:
    """`forward` made differentiable; only its first outputs are returned, the others are kept for backward.

    Args:
        forward: an op from `define`.
        gradients: called with a `Call` and the gradient of each result (None where nothing depends on it); returns
            one gradient for each of the first arguments, None where there is none.
        aten: the same function in ATen, of the arguments but the last; for second derivatives.
        results: how many of the outputs are results.
        constants: how many after those are returned too, without gradient.
    """
    returned = results + constants
    count = len(forward.overload._schema.arguments)

    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*outputs[results:])
        ctx.save_for_backward(*(a if isinstance(a, Tensor) else None for a in inputs), *outputs)
        ctx.others = tuple(None if isinstance(a, Tensor) else a for a in inputs)

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        arguments = tuple(b if a is None else a for a, b in zip(saved[:count], ctx.others, strict=True))
        call = Call(arguments, saved[count:], tuple(ctx.needs_input_grad))
        if all(grad is None for grad in grads[:results]):
            return (None,) * count
        if torch.is_grad_enabled():
            return _through_aten(aten, call, grads[:results])
        found = tuple(gradients(call, *grads[:results]))
        return found + (None,) * (count - len(found))

    def run(ctx: Any, *arguments: Any) -> Any:
        outputs = forward.run(*arguments)
        setup_context(ctx, arguments, outputs)
        return outputs

    rule = {"forward": staticmethod(run), "backward": staticmethod(backward)}
    function = type(forward.overload._opname, (torch.autograd.Function,), rule)
    torch.library.register_autograd(forward.overload, backward, setup_context=setup_context, lib=_library)

    def differentiable(*arguments: Any) -> Any:
        outputs = forward.overload(*arguments) if _traced(arguments[0]) else function.apply(*arguments)
        return outputs if isinstance(outputs, Tensor) else outputs[0] if returned == 1 else outputs[:returned]

    return differentiable


def _traced(first: Any) -> bool:
    """Whether a call is not only to be computed: it is compiled, under a mode, or of a tensor that is a stand-in."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or getattr(type(first), "__torch_dispatch__", _NO_DISPATCH) is not _NO_DISPATCH
    )


def _through_aten(aten: Callable[..., Any], call: Call, grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients as functions of the arguments that can be differentiated again."""
    outputs = aten(*call.arguments[:-1])
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=False) if grad is not None]
    wanted = [a for a, need in zip(call.arguments, call.needed, strict=True) if need]
    found = iter(
        torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True)
    )
    return tuple(next(found) if need else None for need in call.needed)


def seed_tensor(seed: Tensor | tuple[int, int] | None, device: torch.device) -> Tensor | None:
    """(seed, offset) as a tensor on `device`."""
    if seed is None or (isinstance(seed, Tensor) and seed.device == device):
        return seed
    return torch.as_tensor(seed, dtype=torch.int64).to(device, non_blocking=True)


def autocast(first: Tensor, *others: Tensor | None) -> tuple[Any, ...]:
    """The tensors in autocast's type, as torch casts the inputs of a matrix product, where autocast is on.

    float64 and what is no float stays as it is.
    """
    device_type = first.device.type
    if first.is_meta or not torch.is_autocast_enabled(device_type):
        return first, *others
    dtype = torch.get_autocast_dtype(device_type)
    half = (torch.float32, torch.float16, torch.bfloat16)
    return tuple(t.to(dtype) if t is not None and t.dtype in half else t for t in (first, *others))
