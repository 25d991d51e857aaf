"""The captured step: one batch after another through what a recording of the step did, without its Python.

A step runs as it is for the first batch of a shape. Two more are recorded; where they did the same to the same tensors,
the next ones are replayed: on the CPU as a flat list of ATen calls (`fastk.capture`), on a GPU as a CUDA graph. A
step that is not the same each time goes on as it is, and `reason` says why.

Batches of another size, such as the last one of an epoch, are another shape, with a program of their own.
`StepsTogether` makes one program of several steps over batches that lie one after the other.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch

from fastk import capture, tree
from fastk.capture.cuda import CudaGraph, Space
from fastk.layers.state import changes
from fastk.user_warning import warn_user

logger = logging.getLogger("fastk")

MOST_SHAPES = 8
"""Batches of more shapes than this run as they are: each recorded shape has buffers of its own."""

DEMANDED = "`jit_compile=True` asks for captured steps, but steps run op by op, to the same numbers:"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Steps(dict[str, Any]):
    """The captured steps of a model by their names; a copy of the model begins without: they work on its tensors."""

    def __deepcopy__(self, memo: dict) -> Steps:
        return Steps()

    def __reduce__(self) -> Any:
        return Steps, ()


class CapturedStep:
    """A step over `(x, y, sample_weight)` that is replayed where it can be.

    Args:
        step: called with a batch; returns None or logs.
        objects: layers, metrics and others whose Python attributes the step must leave as they are.
        fingerprint: gives what decides what the step does, to be compared; or None where only the step itself tells.

    Attributes:
        is_demanded: whether the user asked for it, and is warned where it is not to be had.
        log_names: the names of the logs in the order in which they are returned; the keys of a dict.
        fixed: while no weight changes, an object for that time.
    """

    def __init__(
        self, step: Callable[..., Any], objects: Iterable[Any] = (), fingerprint: Callable[[], Any] = lambda: None
    ):
        self.step = step
        self.fingerprint = fingerprint
        self.fixed: object | None = None
        self.is_demanded = False
        self.log_names: dict[str, None] | None = None
        objects = list(objects)
        self._watched = [x for x in objects if hasattr(x, "__dict__") and not type(x).__module__.startswith("fastk.")]
        modules = [x for x in objects if isinstance(x, torch.nn.Module)]
        self._hooks = [(getattr(module, name), module) for module in modules for name in _HOOKS]
        self._shapes: dict[Any, _Shape] = {}
        self._version: int | None = None
        self._holds_text = False
        self._space: Space | None = None
        self._told: set[str] = set()

    def __call__(self, *batch: Any) -> Any:
        """The step over one batch."""
        key, leaves = _signature(batch)
        shape = self._shapes.get(key)
        if shape is not None and shape.program is not None and shape.is_checked:
            return shape.replay(leaves)
        if key is None:
            self._holds_text = True
            return self.step(*batch)
        if shape is None:
            if len(self._shapes) >= MOST_SHAPES:
                self.tell(f"there are batches of more than {MOST_SHAPES} shapes")
                return self.step(*batch)
            shape = self._shapes[key] = _Shape(self)
        return shape.run(batch)

    @contextlib.contextmanager
    def with_fixed_weights(self) -> Iterator[None]:
        """Inside, no weight changes: what follows from weights alone is computed once."""
        self.fixed = object()
        try:
            yield
        finally:
            self.fixed = None

    def program_of(self, batch: tuple) -> Any:
        """What a batch of this shape is replayed by; None where it is not, or not yet."""
        shape = self._shapes.get(_signature(batch)[0])
        return shape.program if shape is not None and shape.is_checked else None

    def space_of(self, batch: tuple) -> Space | None:
        """Where the graphs of this step are captured; None on the CPU."""
        if self._space is None:
            on_gpu = [x.device for x in _leaves(batch) if isinstance(x, torch.Tensor) and x.is_cuda]
            self._space = Space(on_gpu[0]) if on_gpu else None
        return self._space

    def tell(self, reason: str) -> None:
        """Says once why steps run as they are."""
        if reason in self._told:
            return
        self._told.add(reason)
        logger.info("A step runs as it is instead of being replayed: %s.", reason)
        if self.is_demanded:
            warn_user(f"{DEMANDED} {reason}.")

    @property
    def reasons(self) -> list[str]:
        """Why steps are not replayed, a sentence a shape."""
        reasons = [shape.reason for shape in self._shapes.values() if shape.reason is not None]
        if self._holds_text:
            reasons.insert(0, "a batch holds strings, which are looked up on the host")
        return self.hooked + reasons

    @property
    def hooked(self) -> list[str]:
        """The layers with a torch hook, a sentence each."""
        return [f"a torch hook is registered on {type(module).__name__}" for hooks, module in self._hooks if hooks]

    @property
    def programs(self) -> list[Any]:
        """What is replayed, one a shape of batches."""
        return [shape.program for shape in self._shapes.values() if shape.program is not None]

    @property
    def is_current(self) -> bool:
        """Whether no layer has had an attribute set since the last check, and no torch hook is to run at each step."""
        return self._version == changes.count and not any(hooks for hooks, _ in self._hooks)

    def check_again(self) -> None:
        """Finds out whether the model has changed: by its fingerprint, or by recording the next step of each shape."""
        self._version, self.log_names = changes.count, None
        known = any(shape.fingerprint is not None for shape in self._shapes.values())
        now = self.fingerprint() if known else None
        for shape in self._shapes.values():
            shape.is_checked = now is not None and shape.fingerprint == now

    def watched_state(self) -> list[dict[str, Any]]:
        """The plain attributes of the user's objects, and the lengths of their containers."""
        return [
            {
                name: len(value) if isinstance(value, (list, dict, set)) else value
                for name, value in vars(x).items()
                if isinstance(value, (bool, int, float, str, list, dict, set))
            }
            for x in self._watched
        ]

    def changed(self, before: list[dict[str, Any]]) -> str | None:
        """A sentence on the first attribute that is not as it was."""
        for x, old, new in zip(self._watched, before, self.watched_state(), strict=True):
            for name in old.keys() | new.keys():
                if old.get(name) != new.get(name):
                    return f"the attribute `{name}` of {type(x).__name__} changes with each step"
        return None


class _Shape:
    """The steps over batches of one shape."""

    def __init__(self, owner: CapturedStep):
        self.owner = owner
        self.reason: str | None = None
        self.program: Any = None
        self.is_checked = True
        self.fingerprint: Any = None  # of the model as the program has it
        self._prepared: object | None = None  # the time with fixed weights that the program is prepared for
        self._ran = False
        self._recording: capture.Recording | None = None
        self._buffers: Any = None  # `_Buffers`, once steps are recorded

    def replay(self, leaves: Any) -> Any:
        """The step over one batch, its tensors flat, by the program."""
        self._buffers.fill(leaves)
        fixed = self.owner.fixed
        if fixed is None or fixed is not self._prepared:
            self._prepared = fixed
            return self.program.run()
        return self.program.run_again()

    def run(self, batch: tuple) -> Any:
        """The step over one batch, recorded where that may lead to a program."""
        if self.reason is None and self._ran:
            return self._record(batch)
        self._ran = True
        return self.owner.step(*batch)

    def _record(self, batch: tuple) -> Any:
        if self._buffers is None:
            self._buffers = _Buffers(batch)
        self._buffers.fill(_leaves(batch))
        before = self.owner.watched_state()
        recording = _recorded(self.owner.space_of(batch), self.owner.step, *self._buffers.batch)
        result, recording.result = recording.result, None
        self._learn(recording, recording.refusal or self.owner.changed(before))
        return result

    def _learn(self, recording: capture.Recording, refusal: str | None) -> None:
        """Draws the conclusion from one more recording."""
        previous, self._recording = self._recording, recording
        may_have_changed, self.is_checked = not self.is_checked, True
        difference = None if previous is None or refusal else previous.difference(recording)
        if refusal:
            self._give_up(refusal)
        elif difference is not None:
            self.program = self.fingerprint = None  # once more from here, where the model has changed since
            if not may_have_changed:
                self._give_up(difference)
        elif previous is not None and self.program is None:
            batch = self._buffers.batch
            self.program, reason = _program(recording, self.owner.space_of(batch), self.owner.step, *batch)
            self._prepared = None
            if reason is not None:
                self._give_up(reason)
        if self.program is not None:
            self.fingerprint = self.owner.fingerprint()

    def _give_up(self, reason: str) -> None:
        self.reason, self.program, self._recording, self._buffers = reason, None, None, None
        self.fingerprint = None
        self.owner.tell(reason)


class StepsTogether:
    """Several steps as one replay, over batches that lie one after the other in one.

    While a batch of that shape is not replayed by itself, or has to be compared with the model again, the steps are
    done one by one.

    Args:
        captured: the single step.
        rows: samples of one batch.
    """

    def __init__(self, captured: CapturedStep, rows: int):
        self.captured = captured
        self.rows = rows
        self._programs: dict[Any, tuple[Any, Any, _Buffers]] = {}  # with the single step's that they were made for
        self._alone: set[Any] = set()

    def __call__(self, *batch: Any) -> Any:
        """The steps over a batch of several times `rows` samples; returns what the last one returned."""
        (key, leaves), single = _signature(batch), self.captured.program_of(next(self._parts(batch)))
        if single is None or key in self._alone:
            return self._one_by_one(self.captured, batch)
        known = self._programs.get(key)
        if known is None or known[0] is not single:
            return self._build(key, single, batch)
        _, program, buffers = known
        buffers.fill(leaves)
        return program.run()

    @property
    def programs(self) -> list[Any]:
        """What is replayed, one a shape of batches."""
        return [program for _, program, _ in self._programs.values()]

    def _parts(self, batch: tuple) -> Iterator[tuple]:
        return cut(batch, self.rows)

    def _one_by_one(self, step: Callable[..., Any], batch: tuple) -> Any:
        result = None
        for part in self._parts(batch):
            result = step(*part)
        return result

    def _build(self, key: Any, single: Any, batch: tuple) -> Any:
        """Does the steps over `batch` while they are recorded, and makes a program of them."""
        buffers, space = _Buffers(batch), self.captured.space_of(batch)
        buffers.fill(_leaves(batch))
        arguments = (self._one_by_one, self.captured.step, buffers.batch)
        recording = _recorded(space, *arguments)
        result, recording.result = recording.result, None
        program, reason = _program(recording, space, *arguments)
        if reason is None:
            self._programs[key] = single, program, buffers
        else:
            self._alone.add(key)
            self.captured.tell(reason)
        return result


class _Buffers:
    """Where a replayed step reads its batch."""

    def __init__(self, batch: tuple):
        leaves = [torch.empty_like(x) if isinstance(x, torch.Tensor) else x for x in _leaves(batch)]
        self._fill = [x.copy_ if isinstance(x, torch.Tensor) else None for x in leaves]
        self.batch = tree.pack_sequence_as(batch, leaves)

    def fill(self, leaves: Any) -> None:
        """Copies a batch, flat, to them."""
        for fill, leaf in zip(self._fill, leaves, strict=True):
            if fill is not None:
                fill(leaf)


def cut(batch: tuple, rows: int) -> Iterator[tuple]:
    """A batch in parts of `rows` samples, the last one with what is left."""
    leaves = [x.split(rows) if isinstance(x, torch.Tensor) else repeat(x) for x in _leaves(batch)]
    for parts in zip(*leaves, strict=False):  # what is no tensor has no end
        yield tree.pack_sequence_as(batch, list(parts))


def _recorded(space: Space | None, step: Callable[..., Any], *inputs: Any) -> capture.Recording:
    """Does a step and records it, on a GPU where its graphs are captured."""
    return capture.record(step, *inputs) if space is None else space.record(step, *inputs)


def _program(recording: capture.Recording, space: Space | None, step: Callable[..., Any], *inputs: Any) -> tuple:
    """What replays a recorded step; or None and the reason why nothing does.

    Args:
        recording: of the step.
        space: where graphs are captured; None on the CPU.
        step, inputs: the step, and the buffers that it reads.
    """
    if recording.refusal:
        return None, recording.refusal
    if space is None:
        try:
            return capture.build(recording), None
        except NotImplementedError as error:
            return None, str(error)
    called = [call.function.__qualname__ for call in recording.calls if call.is_host_call]
    if called:
        return None, f"{called[0]} is computed on the host"
    try:
        return CudaGraph(space, step, *inputs), None
    except RuntimeError as error:
        return None, f"CUDA cannot capture it: {error}"


def _leaves(batch: Any) -> Any:
    return batch if all(x is None or isinstance(x, torch.Tensor) for x in batch) else tree.flatten(batch)


def _signature(batch: tuple) -> tuple[Any, Any]:
    """What a batch has in common with those that the same recording serves, and its leaves.

    The former is None for a batch of strings, which no recording serves.
    """
    x, y, weight = batch
    if weight is None and type(x) is torch.Tensor:
        if y is None:
            return (x.shape, x.dtype), batch
        if type(y) is torch.Tensor:
            return (x.shape, x.dtype, y.shape, y.dtype), batch
    leaves = tree.flatten(batch)
    if any(isinstance(leaf, np.ndarray) for leaf in leaves):
        return None, leaves
    return tuple([(x.shape, x.dtype) if isinstance(x, torch.Tensor) else x for x in leaves]), leaves
