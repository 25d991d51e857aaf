"""What became of a model of Keras's: which parts of it fastk computes, how its steps run, and what stayed as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fastk.integrations.keras.session import MODES, Session
from fastk.integrations.keras.twin import Twin
from fastk.models.explain import Explanation
from fastk.training.step import CapturedStep


@dataclass(frozen=True)
class Report:
    """What is accelerated; prints as text.

    Attributes:
        model: the model's name.
        plan: what fastk's plan of the model is: each op, what was fused, and which layers run as in Keras, with the
            reason; None where the model's call is Keras's.
        call: a sentence on the model's call.
        optimizer: a sentence on the optimizer.
        steps: sentences on the steps, as far as they have run.
        functions: sentences on Keras's functions that were replaced while steps were recorded.
        kept: what runs as in Keras: (part, reason).
    """

    model: str
    plan: Explanation | None
    call: str
    optimizer: str
    steps: tuple[str, ...]
    functions: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        parts = [f"{self.model}, accelerated by fastk", f"  call: {self.call}", f"  optimizer: {self.optimizer}"]
        parts += [f"  {line}" for line in self.steps or ("no step has run yet",)]
        parts += [
            "",
            "Runs as in Keras",
            *(f"  {part}: {why}" for part, why in self.kept or (("nothing", "all is fastk's"),)),
        ]
        if self.functions:
            parts += ["", "Functions of Keras's, while the last step was recorded", *(f"  {x}" for x in self.functions)]
        if self.plan is not None:
            parts += ["", str(self.plan)]
        return "\n".join(parts)


def report(acceleration: Any, batch_size: int = 32, training: bool = True) -> Report:
    """The report of an accelerated model as it is now.

    Args:
        acceleration: an `Acceleration`.
        batch_size: the samples that costs are counted for.
        training: whether the plan is shown for a training step, or for inference.
    """
    model = acceleration.model
    if model.run_eagerly:
        why = "the model was compiled with run_eagerly=True: nothing is accelerated until it is compiled without"
        return Report(model.name, None, why, why, (), (), (("everything", why),))
    if not model.built:
        why = "the model is not built yet: its plan is made at the first batch"
        return Report(model.name, None, why, why, (), (), ())
    acceleration.look_again()
    session = acceleration.prepared()
    kept: list[tuple[str, str]] = []
    if session.twin is None:
        call = f"Keras's own, since {session.whole}; its functions are replaced"
        kept.append(("the model's call", str(session.whole)))
    else:
        call = "fastk's plan"
        kept += session.twin.opaque.items()
    optimizer = _optimizer(session)
    if session.keeps_optimizer:
        kept.append(("the optimizer", session.keeps_optimizer))
    kept += _unreplayed(session)
    plan = None
    if session.twin is not None:
        with _as_it_was(model):
            # Explaining runs ops one by one: on a twin of its own, apart from the steps that are recorded.
            plan = Twin(session.keras, model).model.explain(batch_size, training)
    functions = tuple(str(session.calls).splitlines()) if session.steps else ()
    return Report(model.name, plan, call, optimizer, tuple(_steps(session)), functions, tuple(kept))


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Restores what running a model changes: statistics, states and seeds."""
    before = [(v._value, v._value.detach().clone()) for v in model.variables if not v.trainable]
    try:
        yield
    finally:
        with torch.no_grad():
            for value, old in before:
                value.copy_(old)


def _optimizer(session: Session) -> str:
    if getattr(session.model, "optimizer", None) is None:
        return "none: the model is not compiled with one"
    if session.optimizer is None:
        return "not built yet"
    name = type(session.model.optimizer).__name__
    if session.keeps_optimizer:
        return f"Keras's {name}, called at each step, since {session.keeps_optimizer}"
    return f"fastk's {name}, on Keras's variables"


def _unreplayed(session: Session) -> list[tuple[str, str]]:
    found = [] if session.hooked is None else [("every step", session.hooked)]
    for mode in MODES:
        if not session.is_default(mode) and not session.replay_custom_steps:
            why = f"`{mode}_step` is the user's: it runs as it is; replay_custom_steps=True replays it"
            found.append((f"the course of a {mode} step", why))
    for name, step in session.steps.items():
        if isinstance(step, CapturedStep):
            found += [(f"the {name} step is not replayed", reason) for reason in dict.fromkeys(step.reasons)]
    return found


def _steps(session: Session) -> list[str]:
    lines = []
    for name, step in session.steps.items():
        if not isinstance(step, CapturedStep):
            lines.append(f"{name}: runs as it is")
        elif step.programs:
            count = len(step.programs)
            lines.append(f"{name}: replayed, as recorded for batches of {count} shape{'s'[: count > 1]}")
        elif not step.reasons:
            lines.append(f"{name}: has run, and is replayed from the fourth batch on")
    return lines
