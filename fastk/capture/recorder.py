"""A step's calls as they are dispatched, each tensor noted by the memory that it is a view of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from fastk import tree
from fastk.capture.host_call import active

CONSTANT_BYTES = 64 * 2**10
"""Tensors of at most this size that a step makes anew from host values are constants where the values stay."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor of the recorded step: a view of memory number `memory`."""

    memory: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call; tensors among the arguments and outputs are `Ref`s.

    function: an `OpOverload`, or the function of a host call.
    outputs: what it returned, flat.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]
    is_host_call: bool = False

    def refs(self) -> list[Ref]:
        """The tensors that it reads, writes or returns."""
        return _refs((self.args, self.kwargs, self.outputs))

    def written(self) -> list[Ref]:
        """The arguments that it writes to, as its schema says; of a host call nothing is known."""
        if self.is_host_call:
            return []
        written: list[Ref] = []
        for position, argument in enumerate(self.function._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = self.args[position] if position < len(self.args) else self.kwargs.get(argument.name)
                written += _refs(given)
        return written


@dataclass(slots=True)
class Memory:
    """Some memory that a step uses.

    nbytes: its size.
    state: the storage itself where it was there before the step (inputs, weights), None where the step made it.
    """

    nbytes: int
    state: torch.UntypedStorage | None = None


@dataclass
class Recording:
    """What a step did.

    refusal: None, or the sentence that says why it cannot be replayed.
    result: what the step returned.
    outputs: the same, its tensors as `Ref`s.
    inputs: the numbers of the memories that its arguments lie in.
    """

    calls: list[Call] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    refusal: str | None = None
    result: Any = None
    outputs: Any = None
    inputs: frozenset[int] = frozenset()

    def difference(self, other: Recording) -> str | None:
        """None where `other` did the same, else a sentence on the first thing that differs."""
        if self.refusal or other.refusal:
            return self.refusal or other.refusal
        for number, (mine, theirs) in enumerate(zip(self.calls, other.calls, strict=False)):
            if not _same(mine, theirs):
                return f"call {number} of the step, {_shown(mine)}, was {_shown(theirs)} at another step"
        if len(self.calls) != len(other.calls):
            return f"the step made {len(self.calls)} calls, and {len(other.calls)} at another time"
        if len(self.memories) != len(other.memories) or not _same(self.outputs, other.outputs):
            return "the step returned another structure at another time"
        written = {ref.memory for call in self.calls for ref in call.written()}
        for number, (mine, theirs) in enumerate(zip(self.memories, other.memories, strict=True)):
            if not _same_memory(mine, theirs) or (number in written and not _is_one(mine, theirs)):
                return "a tensor that the step takes from outside was another one at another time"
        return None


class DispatchMode(TorchDispatchMode):
    """A mode whose methods torch does not wrap, which would import its compiler: 1.3 s of a program's first `fit`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recorder(DispatchMode):
    """Notes every call that reaches a backend, in forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = Recording()
        self._numbers: dict[int, int] = {}
        self._kept: list[StorageWeakRef] = []  # as long as they are, an address is not used for other memory

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        noted = self._noted(args), self._noted(kwargs)
        result = func(*args, **kwargs)
        outputs = tuple(tree.flatten(result))
        if any(x is not None and not isinstance(x, torch.Tensor) for x in outputs):
            self.refuse(f"{_name(func)} reads a value from the device, on which the step may depend")
        elif has_size_of_values(func, args):
            self.refuse(f"the size of what {_name(func)} returns depends on values")
        self._note(func, *noted, outputs)
        return result

    def host_call(self, function: Callable, arguments: tuple) -> Any:
        """Calls `function`, which returns a tensor or None, unseen, and notes that it is called here."""
        args = self._noted(arguments)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            active.recorder = None
            try:
                result = function(*arguments)
                if result is not None:
                    result = result.clone()  # its own memory, whatever it is a view of
            finally:
                active.recorder = self
        self._note(function, args, {}, (result,), is_host_call=True)
        return result

    def refuse(self, reason: str) -> None:
        """Notes why the step cannot be replayed; it runs on."""
        self.recording.refusal = self.recording.refusal or reason

    def finish(self, result: Any) -> Recording:
        """The recording of a step that returned `result`."""
        self.recording.result = result
        self.recording.outputs = self._noted(result)
        return self.recording

    def _note(self, function: Any, args: Any, kwargs: Any, outputs: tuple, is_host_call: bool = False) -> None:
        noted = tuple(self._ref(x, made=True) if isinstance(x, torch.Tensor) else None for x in outputs)
        self.recording.calls.append(Call(function, args, kwargs, noted, is_host_call))

    def _noted(self, structure: Any) -> Any:
        """The structure with `Ref`s in the place of tensors."""
        if isinstance(structure, torch.Tensor):
            return self._ref(structure)
        if isinstance(structure, (list, tuple)):
            parts = [self._noted(x) for x in structure]
            return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
        if isinstance(structure, dict):
            return {key: self._noted(x) for key, x in structure.items()}
        return structure

    def _ref(self, tensor: torch.Tensor, made: bool = False) -> Ref:
        if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
            self.refuse(f"a tensor of the step is {tensor.layout} or a lazy conjugate: only plain ones are replayed")
            return Ref(-1, tensor.dtype, tuple(tensor.shape), (), 0)
        storage = tensor.untyped_storage()
        number = self._numbers.get(storage._cdata)
        if number is None:
            number = self._numbers[storage._cdata] = len(self.recording.memories)
            # Memory that no call made was there before: it is the state of the model, or the user's.
            self.recording.memories.append(Memory(storage.nbytes(), None if made else storage))
            self._kept.append(StorageWeakRef(storage))
        return Ref(number, tensor.dtype, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))


class _HostReads(TorchFunctionMode):
    """Notices that Python code looks at values: no call is dispatched for it."""

    FUNCTIONS = (
        torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.__dlpack__, torch.Tensor.data_ptr
    )  # fmt: skip

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in self.FUNCTIONS and args[0].is_cpu:  # of another device the host has no more than an address
            self.recorder.refuse(f"Python reads a tensor's values, by Tensor.{func.__name__}()")
        return func(*args, **(kwargs or {}))


def record(step: Callable[..., Any], *inputs: Any) -> Recording:
    """Runs `step(*inputs)` and notes what it does.

    A replay reads its inputs where they lay: they have to be buffers that are filled anew for each step.
    """
    assert active.recorder is None, "a step is being recorded already"
    recorder = Recorder()
    recorder.recording.inputs = frozenset(ref.memory for ref in _refs(recorder._noted(inputs)))
    active.recorder = recorder
    try:
        with _HostReads(recorder), recorder:
            result = step(*inputs)
    finally:
        active.recorder = None
    return recorder.finish(result)


def _refs(structure: Any) -> list[Ref]:
    return [x for x in tree.flatten(structure) if isinstance(x, Ref)]


def has_size_of_values(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether the size of what an op returns depends on values; that of indices follows from their sizes, unlike of a
    mask's."""
    if function is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.dynamic_output_shape in function.tags


def _name(function: Any) -> str:
    return str(function) if isinstance(function, torch._ops.OpOverload) else getattr(function, "__qualname__", "a call")


def _shown(call: Call) -> str:
    def shown(x: Any) -> str:
        return f"{str(x.dtype).removeprefix('torch.')}{list(x.size)}" if isinstance(x, Ref) else repr(x)[:40]

    return f"{_name(call.function)}({', '.join(map(shown, call.args))})"


def _same(a: Any, b: Any) -> bool:
    """Whether two noted values are the same; objects that are no plain values have to be the same object."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Call):
        return (
            a.function == b.function and _same(a.args, b.args) and _same(a.kwargs, b.kwargs) and a.outputs == b.outputs
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return isinstance(a, (Ref, bool, int, float, str, torch.dtype, torch.device)) and a == b


def _same_memory(a: Memory, b: Memory) -> bool:
    if a.nbytes != b.nbytes or (a.state is None) != (b.state is None):
        return False
    if a.state is None or b.state is None or a.state._cdata == b.state._cdata:
        return True
    return a.nbytes <= CONSTANT_BYTES and torch.equal(_bytes(a.state), _bytes(b.state))


def _is_one(a: Memory, b: Memory) -> bool:
    """Whether it is the step's own memory, or the very same state."""
    return a.state is None or b.state is None or a.state._cdata == b.state._cdata


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
