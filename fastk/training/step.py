"""The captured step: one batch after another through what a recording of the step did, without its Python.

A step runs as it is for the first batch of a shape. Two more are recorded; where they did the same to the same tensors,
the next ones are replayed: on the CPU as a flat list of ATen calls (`fastk.capture`), on a GPU as a CUDA graph. A
step that is not the same each time goes on as it is, and `reason` says why.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from fastk import capture, tree
from fastk.capture.cuda import CudaGraph
from fastk.layers.state import changes

logger = logging.getLogger("fastk")

MOST_SHAPES = 8
"""Batches of more shapes than this run as they are: each recorded shape has buffers of its own."""


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class CapturedStep:
    """A step over `(x, y, sample_weight)` that is replayed where it can be.

    Args:
        step: called with a batch; returns None or logs.
        objects: layers, metrics and others whose Python attributes the step must leave as they are.
        fingerprint: gives what decides what the step does, to be compared; or None where only the step itself tells.
    """

    def __init__(
        self, step: Callable[..., Any], objects: Iterable[Any] = (), fingerprint: Callable[[], Any] = lambda: None
    ):
        self.step = step
        self.fingerprint = fingerprint
        objects = list(objects)
        self._watched = [x for x in objects if hasattr(x, "__dict__") and not type(x).__module__.startswith("fastk.")]
        modules = [x for x in objects if isinstance(x, torch.nn.Module)]
        self._hooks = [(getattr(module, name), module) for module in modules for name in _HOOKS]
        self._shapes: dict[Any, _Shape] = {}
        self._version: int | None = None
        # While no weight changes: an object for that time.
        self.fixed: object | None = None

    def __call__(self, *batch: Any) -> Any:
        """The step over one batch."""
        key, leaves = _signature(batch)
        shape = self._shapes.get(key)
        if shape is not None and shape.program is not None and shape.is_checked:
            return shape.replay(leaves)
        if shape is None:
            if len(self._shapes) >= MOST_SHAPES:
                return self.step(*batch)
            shape = self._shapes[key] = _Shape(self)
        return shape.run(batch, leaves)

    @contextlib.contextmanager
    def with_fixed_weights(self) -> Iterator[None]:
        """Inside, no weight changes: what follows from weights alone is computed once."""
        self.fixed = object()
        try:
            yield
        finally:
            self.fixed = None

    @property
    def reasons(self) -> list[str]:
        """Why steps are not replayed, a sentence a shape."""
        hooked = [f"a torch hook is registered on {type(module).__name__}" for hooks, module in self._hooks if hooks]
        return hooked + [shape.reason for shape in self._shapes.values() if shape.reason is not None]

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
        self._version = changes.count
        known = [shape for shape in self._shapes.values() if shape.fingerprint is not None]
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
        self._ran = False
        self._recording: capture.Recording | None = None
        self._buffers: tuple[Any, ...] = ()
        self._fill: list[Callable[[torch.Tensor], Any] | None] = []
        self._prepared: object | None = None  # the time with fixed weights that the program is prepared for

    def run(self, batch: tuple, leaves: Any) -> Any:
        """The step over one batch, recorded where that may lead to a program."""
        if self.reason is None and self._ran:
            return self._record(batch, leaves)
        self._ran = True
        return self.owner.step(*batch)

    def replay(self, leaves: Any) -> Any:
        """The step over one batch, its tensors flat, by the program."""
        for fill, leaf in zip(self._fill, leaves, strict=True):
            if fill is not None:
                fill(leaf)
        fixed = self.owner.fixed
        if fixed is None or fixed is not self._prepared:
            self._prepared = fixed
            return self.program.run()
        return self.program.run_again()

    def _record(self, batch: tuple, leaves: Any) -> Any:
        if not self._buffers:
            buffers = [torch.empty_like(x) if isinstance(x, torch.Tensor) else x for x in leaves]
            self._fill = [x.copy_ if isinstance(x, torch.Tensor) else None for x in buffers]
            self._buffers = tree.pack_sequence_as(batch, buffers)
        for fill, leaf in zip(self._fill, leaves, strict=True):
            if fill is not None:
                fill(leaf)
        before = self.owner.watched_state()
        recording = capture.record(self.owner.step, *self._buffers)
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
            self._capture(recording)
        if self.program is not None:
            self.fingerprint = self.owner.fingerprint()

    def _capture(self, recording: capture.Recording) -> None:
        if all(x.is_cpu for x in tree.flatten(self._buffers) if isinstance(x, torch.Tensor)):
            try:
                self.program = capture.build(recording)
                self._prepared = None
            except NotImplementedError as error:
                self._give_up(str(error))
            return
        called = [call.function.__qualname__ for call in recording.calls if call.is_host_call]
        if called:
            self._give_up(f"{called[0]} is computed on the host")
            return
        try:
            self.program = CudaGraph(self.owner.step, *self._buffers)
        except RuntimeError as error:
            self._give_up(f"CUDA cannot capture it: {error}")

    def _give_up(self, reason: str) -> None:
        self.reason, self.program, self._recording, self._buffers = reason, None, None, ()
        self.fingerprint = None
        logger.info("A step runs as it is instead of being replayed: %s.", reason)


def _signature(batch: tuple) -> tuple[Any, Any]:
    """What a batch has in common with those that the same recording serves; and its leaves."""
    x, y, weight = batch
    if weight is None and type(x) is torch.Tensor:
        if y is None:
            return (x.shape, x.dtype), batch
        if type(y) is torch.Tensor:
            return (x.shape, x.dtype, y.shape, y.dtype), batch
    leaves = tree.flatten(batch)
    return tuple([(x.shape, x.dtype) if isinstance(x, torch.Tensor) else x for x in leaves]), leaves
