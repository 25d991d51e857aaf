"""Whether an op runs faster by fastk's kernels or by the vendor's library, which ATen calls: measured like a tile.

The implementations of an op are the configurations of one more tunable, `<op>.implementation`: the same database, the
same search, the same check of results. A trial is the whole op, with its gradients where they are asked for. What was
measured is told by `dispatch.choose` as its reason; nothing is measured unless `FASTK_AUTOTUNE` is `on`.

`fastk.autograd` says by `contested` how an op is called with an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

from fastk import autotune, config
from fastk.autotune import Accuracy, Decision, Tunable, Work
from fastk.autotune.accuracy import tensors_of
from fastk.autotune.space import rounded_up
from fastk.kernels import triton_runtime

TITLES = {"triton": "the Triton kernel", "cupy": "the CuPy kernel", "aten": "ATen"}


@dataclass(frozen=True)
class Implementation:
    """One of the implementations that `fastk.dispatch` knows."""

    name: str


class OpCall(NamedTuple):
    """A call of an op, as far as its speed depends on it. Sizes are rounded up, but for a tensor's last one: channels.

    arguments: see `describe`; ours: the implementation that ATen is measured against.
    """

    arguments: tuple
    training: bool
    autocast: str | None
    precision: str
    ours: str
    torch: str
    architecture: int
    sm_count: int


class Contest(Tunable):
    """The choice of an op's implementation; a trial is a call and, where the call has them, its gradients."""

    @property
    def module(self) -> str:
        """The module of the kernels, of which a measurement depends."""
        return f"fastk.kernels.{self.op}.triton_kernels"

    @property
    def op(self) -> str:
        """The op's folder."""
        return self.launcher

    def runner(self, arguments: tuple) -> Callable[[Implementation], Any]:
        """Trials that share the gradients of their results, which are made in the first one."""
        return partial(self.run, arguments, directions={})

    def run(
        self, arguments: tuple, configuration: Implementation, directions: dict[int, torch.Tensor] | None = None
    ) -> Any:
        """The results and the gradients of a call; directions: the gradients by its results, to be used again."""
        function = _functions[self.name]
        taken, leaves = _leaves(arguments)
        made = function(*taken, implementation=configuration.name)
        results = [] if made is None else list(tensors_of(made))
        differentiable = [result for result in results if result.requires_grad]
        if not (leaves and differentiable):
            return results
        directions = {} if directions is None else directions
        for i, result in enumerate(differentiable):
            if i not in directions:
                directions[i] = _direction(result)
        given = [directions[i] for i in range(len(differentiable))]
        grads = torch.autograd.grad(differentiable, leaves, given, allow_unused=True)
        return [result.detach() for result in results] + [grad for grad in grads if grad is not None]


_functions: dict[str, Callable[..., Any]] = {}
_varying: dict[str, tuple[int, ...]] = {}
_contests: dict[str, Contest] = {}


def contested(
    op: str, folder: str, function: Callable[..., Any], in_place: bool = False, varying: tuple[int, ...] = ()
) -> None:
    """Lets an op's implementations be measured against each other.

    Args:
        op: its name for `dispatch.choose`.
        folder: of `kernels/`, that of the op.
        function: called with the arguments that `choose` is given, and `implementation`.
        in_place: it writes to its arguments.
        varying: positions of arguments that are others in each call and do not change its speed: a count, a seed.
    """
    name = f"{op}.implementation"
    _functions[name] = function
    _varying[op] = varying
    _contests[op] = Contest(
        name=name,
        problem=OpCall,
        sizes=(),
        kinds=(Implementation,),
        default=lambda problem: Implementation(problem.ours),
        candidates=lambda problem: [Implementation("aten")],
        why_invalid=lambda configuration, problem: None,
        work=lambda configuration, problem: Work(1, 4, 0.0),  # the model knows nothing of the vendor's kernels
        launcher=folder,
        example=_no_example,
        accuracy=_accuracy,
        in_place=in_place,
    )


def is_open(op: str) -> bool:
    """Whether anything is known of an op's implementations, or is to be measured."""
    return op in _contests and autotune.is_informed(_contests[op].name)


def verdict(op: str, ours: str, arguments: tuple) -> tuple[str, str] | None:
    """(implementation, reason) where a call was measured, None where it was not.

    Args:
        op: its name.
        ours: the implementation that runs it otherwise.
        arguments: of the call.
    """
    if torch.compiler.is_compiling() or not is_open(op):
        return None
    contest, problem = _contests[op], call_of(op, ours, arguments)
    real = torch._C._len_torch_dispatch_stack() == 0  # under a mode tensors may be without data, or be counted
    decision = autotune.decision_for(contest, problem, arguments if real else None)
    return None if decision.record is None else (decision.configuration.name, _reason(decision, ours))


def call_of(op: str, ours: str, arguments: tuple) -> OpCall:
    """The problem of a call."""
    lasting = (type(a).__name__ if i in _varying[op] else a for i, a in enumerate(arguments))
    training = torch.is_grad_enabled() and any(t.requires_grad for t in tensors_of(arguments))
    device = next(tensors_of(arguments)).device.type
    autocast = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None
    return OpCall(
        describe(tuple(lasting)),
        training,
        autocast,
        config.float32_precision(),
        ours,
        str(torch.__version__),
        triton_runtime.architecture(),
        triton_runtime.sm_count(),
    )


def describe(argument: Any) -> Any:
    """What of an argument decides the speed of a call.

    A tensor's dtype, sizes and whether it is contiguous; of a list of tensors how many there are, and how many elements
    they have; whether a float is 0; what a flag, a name or a number is.

    >>> describe((torch.ones(100, 7), None, 0.5, "relu"))
    ((torch.float32, (128, 7), True), None, True, 'relu')
    """
    if isinstance(argument, torch.Tensor):
        *sizes, last = argument.shape or (1,)
        shape = *map(rounded_up, sizes), last if sizes else rounded_up(last)
        return argument.dtype, shape, argument.is_contiguous()
    if isinstance(argument, list) and argument and isinstance(argument[0], torch.Tensor):
        return len(argument), rounded_up(sum(t.numel() for t in argument)), argument[0].dtype
    if isinstance(argument, (tuple, list)):
        return tuple(map(describe, argument))
    if isinstance(argument, float):
        return argument != 0.0
    return argument if isinstance(argument, (bool, int, str, type(None))) else type(argument).__name__


def _reason(decision: Decision, ours: str) -> str:
    """The sentence of a measurement."""
    record = decision.record
    assert record is not None
    times = {timing["configuration"]["name"]: timing["microseconds"] for timing in record.timings}
    fastest = decision.configuration.name
    other = "aten" if fastest == ours else ours
    if other not in times:
        why = ", ".join(record.failures) or "it was not measured"
        return f"measured: {times[fastest]:.0f} us; {TITLES[other]} is no rival here ({why})"
    return f"measured faster: {times[fastest]:.0f} us against {times[other]:.0f} us of {TITLES[other]}"


def _leaves(arguments: tuple) -> tuple[tuple, list[torch.Tensor]]:
    """The arguments cut off from what they were computed of, and those whose gradients are asked for."""
    leaves: list[torch.Tensor] = []

    def cut(argument: Any) -> Any:
        if isinstance(argument, torch.Tensor):
            needs = argument.requires_grad and torch.is_grad_enabled()
            argument = argument.detach().requires_grad_(needs)
            leaves.extend([argument] if needs else [])
            return argument
        if isinstance(argument, (tuple, list)) and not hasattr(argument, "_fields"):
            return type(argument)(map(cut, argument))
        return argument

    return tuple(map(cut, arguments)), leaves


def _direction(result: torch.Tensor) -> torch.Tensor:
    """A gradient whose elements differ: behind a normalisation that of equal ones is 0, and anything is as good."""
    angles = torch.arange(result.numel(), device=result.device, dtype=torch.float32)
    return angles.cos().to(result.dtype).view(result.shape)


def _accuracy(problem: OpCall) -> Accuracy:
    """Implementations round intermediate results at other places: as many as a sum has terms, at the most."""
    dtypes = [value for value in _flat(problem.arguments) if isinstance(value, torch.dtype) and value.is_floating_point]
    eps = max(torch.finfo(dtype).eps for dtype in dtypes)
    if problem.autocast is not None:
        eps = max(eps, torch.finfo(getattr(torch, problem.autocast.removeprefix("torch."))).eps)
    if problem.precision == "tf32":
        eps = max(eps, 2.0**-10)
    sizes = [value for value in _flat(problem.arguments) if isinstance(value, int) and not isinstance(value, bool)]
    return Accuracy(length=max(1, *sizes), eps=eps)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _no_example(problem: OpCall, device: str) -> tuple:
    raise ValueError("Implementations are measured in the calls of a model: `fastk tune model.keras`.")
