"""Triton's interpreter, hardened: kernels run on the CPU as a GPU would compute, every access checked and counted.

Set TRITON_INTERPRET=1 before Triton is imported, then

    from fastk.kernels.verify import interpreter

    interpreter.install()
    with interpreter.trace() as launches:
        y = dense_forward(x, kernel, ...)
    assert launches[0].stores.requested == y.nbytes and launches[0].races == 0

From `install` on, an access outside the tensor that a pointer argument was made from raises `OutOfBoundsError`. Under
`trace` each launch is counted (see `memory.Launch`), and `program_order_seed` shuffles the order of its programs.

What differs from the stock interpreter in numbers is listed in `builder`. Beyond that:

- Floats are float32 in the kernel, as on a GPU; where an argument is a float64 tensor, which only the interpreter is
  given, they are float64.
- A block in an `if` or an `and` raises: the stock one takes it for true.
- A keyword that is neither a parameter nor a launch option raises.
- Programs start in the order of a GPU, x fastest. A cooperative launch runs its programs at once (`cooperative`).
- It takes less than half of the time (`language`, `transfer`), checks included.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.backends.nvidia.compiler import CUDAOptions
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import InterpretedFunction, TensorHandle
from triton.runtime.jit import _normalize_ty, mangle_type
from triton.tools.tensor_descriptor import TensorDescriptor

from fastk.errors import FastkError
from fastk.kernels.verify.builder import Builder, numpy_type
from fastk.kernels.verify.cooperative import Cooperative, LivelockError, Sequential
from fastk.kernels.verify.language import interpreted_language
from fastk.kernels.verify.memory import TAG_SHIFT, Launch, Monitor, OutOfBoundsError, Traffic

__all__ = [
    "InterpreterUnavailable",
    "Launch",
    "LivelockError",
    "OrderDependenceError",
    "OutOfBoundsError",
    "Traffic",
    "check_program_order",
    "install",
    "poison",
    "trace",
]

_LAUNCH_OPTIONS = frozenset(CUDAOptions.__dataclass_fields__)


class InterpreterUnavailable(FastkError, RuntimeError):
    """Triton was imported without TRITON_INTERPRET=1, so kernels are compiled and not interpreted."""


class OrderDependenceError(FastkError, AssertionError):
    """A kernel's result depends on the order in which its programs run."""


@dataclass
class _Trace:
    """What the innermost `trace` asked for."""

    check: bool
    program_order_seed: int | None
    reachable: list[torch.Tensor]
    launches: list[Launch] = field(default_factory=list)


_builder = Builder()
_trace: _Trace | None = None


def install() -> None:
    """Puts the hardened interpreter in place of Triton's; a second call does nothing.

    Raises:
        InterpreterUnavailable: Triton was imported without TRITON_INTERPRET=1.
    """
    if not isinstance(tl.standard._sum_combine, InterpretedFunction):
        raise InterpreterUnavailable(
            "Triton compiles kernels in this process. Set TRITON_INTERPRET=1 in the environment before triton, or any "
            "module with kernels, is imported."
        )
    if stock.interpreter_builder is _builder:
        return
    stock.InterpreterBuilder = Builder
    stock.interpreter_builder = _builder
    stock.interpreter_semantic = stock.TritonSemantic(_builder)
    stock.GridExecutor = _Executor
    stock._get_np_dtype = numpy_type  # the stock one builds its table at every call
    InterpretedFunction.__call__ = _call_device_function


@contextlib.contextmanager
def trace(
    check: bool = True, program_order_seed: int | None = None, reachable: Iterable[torch.Tensor] = ()
) -> Iterator[list[Launch]]:
    """Counts the launches inside; gives the list that they are appended to.

    Args:
        check: whether to look for races too, and to refuse an address made from an integer that is in no tensor known.
        program_order_seed: None for the order of a GPU, else the seed of a shuffle.
        reachable: tensors that kernels reach through addresses held in integers, as a multi-tensor optimizer does.
    """
    global _trace
    install()
    outer, _trace = _trace, _Trace(check, program_order_seed, list(reachable))
    try:
        yield _trace.launches
    finally:
        _trace = outer


def check_program_order(function: Callable[[], Any], seeds: Iterable[int] = (0, 1, 2)) -> Any:
    """What `function` returns, a tensor or a tuple of them, once it is the same bits under shuffled program orders.

    Raises:
        OrderDependenceError: it is not; the message names the seed.
    """
    expected = function()
    for seed in seeds:
        with trace(check=False, program_order_seed=seed):
            result = function()
        for position, (one, other) in enumerate(zip(_tensors(expected), _tensors(result), strict=True)):
            if not torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)):
                raise OrderDependenceError(
                    f"Result {position} changes with the order of the programs: shuffled with seed {seed}, "
                    f"{int((one != other).sum())} of {one.numel()} elements differ."
                )
    return expected


@contextlib.contextmanager
def poison() -> Iterator[None]:
    """Inside, torch.empty and its like give NaN, integers their greatest value: what a kernel leaves unwritten shows.

    >>> import torch
    >>> with poison():
    ...     torch.empty(2), torch.empty_like(torch.ones(1, dtype=torch.int8))
    (tensor([nan, nan]), tensor([127], dtype=torch.int8))
    """
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")  # of which filling new memory is a part
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def _tensors(result: Any) -> list[torch.Tensor]:
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [tensor.detach() for tensor in results if tensor is not None]


def _call_device_function(self: InterpretedFunction, *args: Any, **kwargs: Any) -> Any:
    """A device function called in a kernel; the launch has patched the language already."""
    return self.rewrite()(*args, **kwargs)


class _Executor:
    """Runs one launch; takes the place of Triton's GridExecutor, which copies every argument."""

    def __init__(self, fn: Callable, arg_names: list[str], grid: Any, pre_run_hooks: Iterable[Callable] = ()) -> None:
        self._fn, self._grid, self._hooks = fn, grid, pre_run_hooks

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        for hook in self._hooks:
            hook(*args, **kwargs)
        cooperative = bool(kwargs.get("launch_cooperative_grid", False))
        arguments = _bind(self._fn, args, kwargs)
        sizes: Any = self._grid(arguments) if callable(self._grid) else self._grid
        x, y, z = (*map(int, sizes), 1, 1)[:3]
        if 0 in (x, y, z):
            return
        launch = _launch(self._fn, arguments, (x, y, z), cooperative)
        if _trace is not None:
            _trace.launches.append(launch)


@functools.cache
def _signature(fn: Callable) -> tuple[inspect.Signature, frozenset[str]]:
    """A kernel's signature and the names of its compile-time parameters."""
    signature = inspect.signature(fn)
    annotations = inspect.get_annotations(fn)
    return signature, frozenset(name for name, kind in annotations.items() if _normalize_ty(kind) == "constexpr")


def _bind(fn: Callable, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The launch's arguments by the kernel's names, without the launch options."""
    signature, _ = _signature(fn)
    unknown = [name for name in kwargs if name not in signature.parameters and name not in _LAUNCH_OPTIONS]
    if unknown:
        raise TypeError(f"{fn.__name__} has no parameter {unknown[0]!r}, and Triton has no launch option of that name.")
    bound = signature.bind(*args, **{name: value for name, value in kwargs.items() if name in signature.parameters})
    bound.apply_defaults()
    return bound.arguments


def _launch(fn: Callable, arguments: dict[str, Any], grid: tuple[int, int, int], cooperative: bool) -> Launch:
    """Runs the programs of a grid."""
    constexprs = _signature(fn)[1]
    given = {name: value for name, value in arguments.items() if name not in constexprs}
    tensors = [(name, tensor) for name, value in given.items() for tensor in _walk(value)]
    for name, tensor in tensors:
        if tensor.device.type != "cpu":
            raise TypeError(
                f"{fn.__name__} is interpreted, which takes tensors on the CPU; {name} is on {tensor.device}."
            )
    counted = _trace is not None
    monitor = Monitor(
        fn.__name__, grid, tensors, _trace.reachable if _trace else (), counted, _trace.check if _trace else False
    )
    convert = _Converter(floats=tl.float64 if any(t.dtype == torch.float64 for _, t in tensors) else tl.float32)
    turns = (Cooperative if cooperative else Sequential)(fn.__name__)
    order = list(range(grid[0] * grid[1] * grid[2]))
    if _trace is not None and _trace.program_order_seed is not None:
        random.Random(_trace.program_order_seed).shuffle(order)

    def start(program: int) -> None:
        monitor.program = program
        _builder.grid_idx = (program % grid[0], program // grid[0] % grid[1], program // (grid[0] * grid[1]))

    outer = _builder.monitor, _builder.turns
    began = time.perf_counter()
    with interpreted_language(), np.errstate(all="ignore"):
        values = {name: convert(value) if name in given else value for name, value in arguments.items()}
        _builder.monitor, _builder.turns = monitor, turns
        _builder.set_grid_dim(*grid)
        try:
            turns.run(order, start, lambda: fn(**values))
        finally:
            _builder.monitor, _builder.turns = outer
    monitor.launch.seconds = time.perf_counter() - began
    return monitor.finish()


def _walk(value: Any) -> Iterator[Any]:
    """The tensors in an argument, in the order in which they are converted."""
    if isinstance(value, TensorDescriptor):
        yield from _walk(value.base)
    elif isinstance(value, tuple):
        for item in value:
            yield from _walk(item)
    elif hasattr(value, "data_ptr"):
        yield getattr(value, "base", value)  # triton.reinterpret


class _Converter:
    """Turns the arguments of a launch into what a kernel computes with; numbers the tensors 1, 2, …"""

    def __init__(self, floats: tl.dtype) -> None:
        self._floats = floats
        self._tag = 0

    def __call__(self, value: Any) -> Any:
        if isinstance(value, bool):
            return tl.tensor(TensorHandle(np.array([value]), tl.int1), tl.int1)
        if isinstance(value, float):
            dtype = np.float64 if self._floats == tl.float64 else np.float32
            return tl.tensor(TensorHandle(np.array([value], dtype), self._floats), self._floats)
        if isinstance(value, tuple):
            items = [self(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, TensorDescriptor):
            descriptor = stock._implicit_cvt(value)
            descriptor.handle.base.data = self._tagged(descriptor.handle.base.data)
            return descriptor
        if hasattr(value, "data_ptr"):
            dtype: Any = tl.str_to_ty(mangle_type(value), None)
            address = np.array([value.data_ptr()], np.uint64)
            return tl.tensor(TensorHandle(self._tagged(address), dtype), dtype)
        return stock._implicit_cvt(value)

    def _tagged(self, address: np.ndarray) -> np.ndarray:
        self._tag += 1
        return address | (np.uint64(self._tag) << TAG_SHIFT)
