"""A recorded step as a flat list of calls on buffers whose places are known ahead.

What the step made is laid out in one arena, memory being used again once nothing reads it any more; views of it are
made once, so that transpositions and reshapes cost nothing at a replay. A call writes its result into its place through
the op's `out=` variant where the CPU has one; other results (those of convolutions, of host calls) are new tensors at
each replay, and views of them are made then.

What follows from weights alone, which the step does not change (a kernel in another layout, a folded normalisation), is
a part of its own: between two steps that no weight changes between, it is left out.
"""

from __future__ import annotations

import functools
import keyword
from collections.abc import Callable
from typing import Any

import torch

from fastk import tree
from fastk.capture.calls import (
    Binding,
    below_autograd,
    bind,
    is_constant,
    is_copy,
    makes_memory_alone,
    of_zeros,
    out_arguments,
)
from fastk.capture.recorder import Call, Recording, Ref

_ALIGNMENT = 64
_LITERALS = (bool, int, str, type(None))


class Program:
    """The replay of a step.

    run: does the step once more, on what lies in its inputs now, and returns what the step returned.
    run_again: the same, where nothing but the inputs has changed since `run`.
    source: their code, a line a call; `prepare` is what `run` does first.
    arena_bytes: the size of the arena.
    """

    def __init__(self, run: Callable[[], Any], run_again: Callable[[], Any], source: str, arena_bytes: int):
        self.run = run
        self.run_again = run_again
        self.source = source
        self.arena_bytes = arena_bytes

    @property
    def calls(self) -> int:
        """How many calls a replay makes."""
        return sum(line.endswith(")") and not line.lstrip().startswith("return") for line in self.source.splitlines())


def build(recording: Recording) -> Program:
    """The program of a recording that has no `refusal` and differs from no other of the same step.

    Raises:
        NotImplementedError: something in the recording cannot be replayed.
    """
    return _Builder(recording).program()


class _Builder:
    def __init__(self, recording: Recording):
        self.recording = recording
        self.returned = {ref.memory for ref in _refs_in(recording.outputs)}
        self.static: dict[Ref, torch.Tensor] = {}
        self.bases: dict[int, torch.Tensor] = {}  # the bytes of each memory that has its place
        self.names: dict[Ref, str] = {}  # of tensors that a replay makes
        self.first: dict[int, Ref] = {}  # of each memory that a replay makes, the tensor that it is made as
        self.globals: dict[str, Any] = {"_strided": torch.as_strided}
        self.known: dict[int, str] = {}  # the names of global values, by id
        self.lines: list[str] = []

    def program(self) -> Program:
        for number, memory in enumerate(self.recording.memories):
            if memory.state is not None:
                self.bases[number] = torch.empty(0, dtype=torch.uint8, device=memory.state.device).set_(memory.state)
        calls = self._without_constants([call for call in self.recording.calls if not self._is_view(call)])
        of_weights, calls = self._apart(calls)
        prepared = {ref.memory for call in of_weights for ref in call.outputs if ref is not None}
        bindings = [_binding(call) for call in calls]
        made_anew = {
            ref.memory
            for call, binding in zip(calls, bindings, strict=True)
            if binding is not None and not binding.out_names
            for ref in self._made(call)
        }
        free = set(range(len(self.recording.memories))) - self.bases.keys() - made_anew
        arena_bytes = self._lay_out([*of_weights, *calls], free, prepared)
        for call in of_weights:
            self._emit(call, _binding(call))
        preparation, self.lines = self.lines, []
        last = {ref.memory: i for i, call in enumerate(calls) for ref in call.refs()}
        for i, (call, binding) in enumerate(zip(calls, bindings, strict=True)):
            self._emit(call, binding)
            done = {m for m in {ref.memory for ref in call.refs()} if last[m] == i and m in self.first} - self.returned
            for memory in sorted(done):
                names = [self.names.pop(ref) for ref in [r for r in self.names if r.memory == memory]]
                self.lines.append(f"del {', '.join(names)}")
        self.lines.append(f"return {self._returned(self.recording.outputs)}")
        parts = {"prepare": preparation, "run": self.lines} if preparation else {"run": self.lines}
        source = "\n".join(f"def {name}():\n    " + "\n    ".join(lines) for name, lines in parts.items())
        exec(compile(source, "<captured step>", "exec"), self.globals)
        run_again = self.globals["run"]
        run = _one_after_another(self.globals["prepare"], run_again) if preparation else run_again
        return Program(_without_gradients(run), _without_gradients(run_again), source, arena_bytes)

    # ------------------------------------------------------------ what needs to be called

    def _is_view(self, call: Call) -> bool:
        """Whether a call only makes a tensor of memory that is there: its outputs are known by their places."""
        if call.is_host_call or call.written():
            return False
        return makes_memory_alone(call.function) or not self._made(call)

    def _made(self, call: Call) -> list[Ref]:
        """The outputs of a call whose memory it made itself."""
        return [ref for ref in call.outputs if ref is not None and self._makers.get(ref.memory) is call]

    @functools.cached_property
    def _makers(self) -> dict[int, Call]:
        """The calls that made each memory."""
        makers: dict[int, Call] = {}
        seen: set[int] = {number for number, memory in enumerate(self.recording.memories) if memory.state is not None}
        for call in self.recording.calls:
            for ref in call.refs():
                if ref.memory not in seen:
                    seen.add(ref.memory)
                    makers[ref.memory] = call
        return makers

    def _without_constants(self, calls: list[Call]) -> list[Call]:
        """The calls without those that give the same at each replay, into memory that nothing else writes to."""
        written = {ref.memory for call in calls for ref in call.written()}
        handed = {ref.memory for call in calls if call.is_host_call for ref in call.refs()}
        left = []
        for call in calls:
            if is_constant(call) and not any(ref.memory in written | handed for ref in call.outputs if ref):
                (ref,) = call.outputs
                value = call.function(*of_zeros(call.args), **of_zeros(call.kwargs))
                self.bases[ref.memory] = torch.empty(0, dtype=torch.uint8).set_(value.untyped_storage())
            else:
                left.append(call)
        return left

    def _apart(self, calls: list[Call]) -> tuple[list[Call], list[Call]]:
        """The calls whose results follow from state that the step does not write to, and the others."""
        if any(call.is_host_call for call in calls):  # such as an optimizer's step: it may write to any weight
            return [], calls
        written = {ref.memory for call in calls for ref in call.written()}
        state = {number for number, memory in enumerate(self.recording.memories) if memory.state is not None}
        fixed = (state | self.bases.keys()) - self.recording.inputs - written
        apart: list[Call] = []
        others: list[Call] = []
        for call in calls:
            if call.is_host_call:
                fixed = set()  # it may write to what it is not given: an optimizer's variables
            taken = {ref.memory for ref in call.refs()}
            made = {ref.memory for ref in self._made(call)}
            is_fixed = taken - made <= fixed and not made & (written | self.returned)
            if is_fixed and _is_pure(call) and len(call.outputs) == 1:
                apart.append(call)
                fixed |= made
            else:
                others.append(call)
        return apart, others

    # ------------------------------------------------------------ places

    def _lay_out(self, calls: list[Call], fresh: set[int], kept: set[int]) -> int:
        """Gives each memory of `fresh` its place in the arena, those of `kept` for good; returns the arena's size."""
        begins: dict[int, int] = {}
        ends: dict[int, int] = {}
        for i, call in enumerate(calls):
            for ref in call.refs():
                if ref.memory in fresh:
                    begins.setdefault(ref.memory, i)
                    ends[ref.memory] = i
        ends |= {memory: len(calls) for memory in self.returned | kept if memory in begins}
        begins |= dict.fromkeys(kept & begins.keys(), 0)
        sizes = {m: -(-self.recording.memories[m].nbytes // _ALIGNMENT) * _ALIGNMENT for m in begins}
        places: dict[int, int] = {}
        for memory in sorted(sizes, key=lambda m: (-sizes[m], m)):
            at = 0
            together = sorted(
                (places[m], sizes[m]) for m in places if begins[m] <= ends[memory] and begins[memory] <= ends[m]
            )
            for start, size in together:
                if at + sizes[memory] <= start:
                    break
                at = max(at, start + size)
            places[memory] = at
        total = max((places[m] + sizes[m] for m in places), default=0)
        arena = torch.empty(total, dtype=torch.uint8)
        for memory, at in places.items():
            self.bases[memory] = arena[at : at + self.recording.memories[memory].nbytes]
        return total

    def _tensor(self, ref: Ref) -> torch.Tensor:
        """The tensor that stands at the place of `ref`."""
        if ref not in self.static:
            base = self.bases[ref.memory]
            offset = int(base.storage_offset()) // ref.dtype.itemsize + ref.offset
            tensor = torch.empty(0, dtype=ref.dtype, device=base.device)
            self.static[ref] = tensor.set_(base.untyped_storage(), offset, ref.size, ref.stride)
        return self.static[ref]

    # ------------------------------------------------------------ code

    def _emit(self, call: Call, binding: Binding | None) -> None:
        made = self._made(call)
        if is_copy(call):
            self.lines.append(f"{self._place(made[0])}.copy_({self._expression(call.args[0])})")
        elif binding is None:
            expression = f"{self._named(call.function.__name__, call.function)}({self._arguments(call.args, {})})"
            (result,) = call.outputs
            self.lines.append(expression if result is None else f"{self._place(result)}.copy_({expression})")
        else:
            outputs = tuple(ref for ref in call.outputs if ref is not None)
            extra = out_arguments(binding.out_names, outputs) if binding.out_names else {}
            name = self._named(call.function._opname, binding.function)
            expression = f"{name}({self._arguments(call.args, call.kwargs | extra)})"
            if made and not extra and made[0].memory in self.bases:
                self.lines.append(f"{self._place(made[0])}.copy_({expression})")
            elif made and not extra:
                self._emit_new(call, expression)
            else:
                self.lines.append(expression)

    def _emit_new(self, call: Call, expression: str) -> None:
        """A line for a call whose results are new at each replay."""
        names = []
        for ref in call.outputs:
            if ref is None:
                names.append("_")
                continue
            name = f"v{len(self.lines)}" + (f"_{len(names)}" if len(call.outputs) > 1 else "")
            if ref not in self.names and ref.memory not in self.bases:
                self.names[ref] = name
                self.first.setdefault(ref.memory, ref)
            names.append(name)
        is_list = "[]" in str(call.function._schema.returns[0].type)
        target = f"[{', '.join(names)}]" if is_list else ", ".join(names)
        self.lines.append(f"{target} = {expression}")

    def _arguments(self, args: tuple, kwargs: dict[str, Any]) -> str:
        shown = [self._expression(x) for x in args]
        return ", ".join([*shown, *(f"{key}={self._expression(x)}" for key, x in kwargs.items())])

    def _expression(self, value: Any) -> str:
        """Code for a noted value."""
        if isinstance(value, Ref):
            return self._place(value)
        if type(value) in _LITERALS:
            return repr(value)
        if type(value) in (list, tuple, torch.Size) and (_refs_in(value) or all(type(x) in _LITERALS for x in value)):
            inner = ", ".join(self._expression(x) for x in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if inner else "()"
        return self._named("c", value)

    def _returned(self, value: Any) -> str:
        """Code for what the step returned, in memory that the next replay does not write to."""
        if isinstance(value, Ref):
            return self._place(value) + (".clone()" if value.memory in self.bases else "")
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key!r}: {self._returned(x)}" for key, x in value.items()) + "}"
        if type(value) in (list, tuple):
            inner = "".join(f"{self._returned(x)}, " for x in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named one
            return f"{self._named('c', type(value))}({''.join(f'{self._returned(x)}, ' for x in value)})"
        return self._expression(value)

    def _place(self, ref: Ref) -> str:
        if ref.memory in self.bases:
            return self._named("t", self._tensor(ref))
        if ref not in self.names:  # another view of something that a replay makes
            first = self.first[ref.memory]
            name = f"v{len(self.lines)}"
            self.lines.append(f"{name} = _strided({self.names[first]}, {ref.size}, {ref.stride}, {ref.offset})")
            if ref.dtype is not first.dtype:
                raise NotImplementedError(f"a view of {first.dtype} as {ref.dtype} of what a replay makes")
            self.names[ref] = name
        return self.names[ref]

    def _named(self, name: str, value: Any) -> str:
        """The name of a global of the code that is `value`."""
        if id(value) not in self.known:
            unique = f"{name}{len(self.known)}" if name in ("c", "t") else name
            if unique in self.globals or keyword.iskeyword(unique) or not unique.isidentifier():
                unique = f"f{len(self.known)}"
            self.known[id(value)] = unique
            self.globals[unique] = value
        return self.known[id(value)]


def _refs_in(structure: Any) -> list[Ref]:
    return [x for x in tree.flatten(structure) if isinstance(x, Ref)]


def _binding(call: Call) -> Binding | None:
    return None if call.is_host_call or is_copy(call) else bind(call)


def _is_pure(call: Call) -> bool:
    """Whether a call does nothing but compute its results from its arguments."""
    return not (
        call.is_host_call or call.function._schema.is_mutable or torch.Tag.nondeterministic_seeded in call.function.tags
    )


def _one_after_another(first: Callable[[], Any], second: Callable[[], Any]) -> Callable[[], Any]:
    def both() -> Any:
        first()
        return second()

    return both


def _without_gradients(run: Callable[[], Any]) -> Callable[[], Any]:
    """`run` below autograd: nothing that it calls is recorded for a backward pass."""

    def replay() -> Any:
        # Gradient mode stays as it is: oneDNN's LSTM keeps what backward needs only where it is on.
        with below_autograd():
            return run()

    return replay
