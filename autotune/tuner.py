"""The decision for a problem: from memory, the database, the shipped winners, a search, or the default.

    off       the default, always
    cached    what was measured earlier, else the default; nothing is ever measured
    on        what was measured earlier, else a search at the first use of a size

Every launch asks, so that an answer that is known costs a dictionary's look. A search waits for the device, which
a CUDA graph that is being captured forbids: there the answer is the default, and the next call outside asks again.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fastk import config
from fastk.autotune import shipped
from fastk.autotune.compilation import Workers
from fastk.autotune.database import Key, Record, default_database
from fastk.autotune.search import Result, search
from fastk.autotune.space import TUNABLES, Tunable, to_data
from fastk.autotune.timing import CudaTimer

logger = logging.getLogger("fastk")
_searching = threading.RLock()  # a search may launch another tunable's kernels, and be asked for them
_noted: set[str] = set()
_informed: dict[tuple[str, str], bool] = {}


@dataclass(frozen=True, slots=True)
class Decision:
    """A configuration and where it is from: `"default"`, `"database"`, `"shipped"` or `"measured"`.

    record: the measurement, where there is one.
    """

    configuration: Any
    origin: str
    record: Record | None = None


def configuration_for(tunable: Tunable, problem: Any, arguments: tuple) -> Any:
    """The configuration to launch with.

    Args:
        tunable: whose.
        problem: the sizes and flags of this call.
        arguments: of this call of the launcher; read only where a search is due.
    """
    decision = tunable.decided[config.autotune()].get(problem)
    return (decision or decision_for(tunable, problem, arguments)).configuration


def decision_for(tunable: Tunable, problem: Any, arguments: tuple | None = None, anew: bool = False) -> Decision:
    """The decision, kept for the next call.

    Args:
        tunable: whose.
        problem: the sizes and flags of a call.
        arguments: of the launcher; None: there is no search.
        anew: search, whatever is known.
    """
    mode = config.autotune()
    if not anew and (kept := tunable.decided[mode].get(problem)) is not None:
        return kept
    device = device_name() if mode != "off" else None
    if device is None:
        return _keep(tunable, mode, problem, Decision(tunable.default(problem), "default"))
    key = Key.of(tunable, problem, device)
    known = None if anew else _known(tunable, problem, key)
    if known is not None or mode == "cached" or arguments is None:
        return _keep(tunable, mode, problem, known or Decision(tunable.default(problem), "default"))
    if torch.cuda.is_current_stream_capturing():
        _note_once(f"{tunable.name} is captured in a CUDA graph before it was tuned: it runs by its default.")
        return Decision(tunable.default(problem), "default")
    with _searching:
        decision = tunable.decided[mode].get(problem) if not anew else None
        return decision or _keep(tunable, mode, problem, _search(tunable, problem, arguments, key, anew))


def decisions() -> dict[str, dict[Any, Decision]]:
    """What was decided so far in the present mode, by the tunable's name and the problem."""
    return {name: dict(tunable.decided[config.autotune()]) for name, tunable in TUNABLES.items()}


def forget() -> None:
    """Forgets decisions, for a database that has changed; the database itself stays."""
    for tunable in TUNABLES.values():
        for decided in tunable.decided.values():
            decided.clear()
    _informed.clear()
    _noted.clear()


def is_informed(tunable_name: str) -> bool:
    """Whether the present mode can answer anything but the default for a tunable of this name; asked once."""
    key = (config.autotune(), tunable_name)
    if key not in _informed:
        _informed[key] = config.autotune() != "off" and device_name() is not None and _is_informed(tunable_name)
    return _informed[key]


def _is_informed(tunable_name: str) -> bool:
    return config.autotune() == "on" or any(r.key.tunable == tunable_name for r in _all_records())


def device_name() -> str | None:
    """The name of the current GPU, None where kernels do not run on one."""
    if config.triton_interpreted() or not torch.cuda.is_available():
        return None
    return _name_of(torch.cuda.current_device())


@functools.cache
def _name_of(index: int) -> str:
    return torch.cuda.get_device_name(index)


def _all_records() -> Iterator[Record]:
    yield from default_database().records().values()
    name = device_name()
    if name is not None:
        yield from shipped.records_of(name)


def _known(tunable: Tunable, problem: Any, key: Key) -> Decision | None:
    """What was measured for a key, where it can be launched for this problem."""
    for origin, record in (("database", default_database().get(key)), ("shipped", shipped.winner(key))):
        configuration = tunable.configuration_from(record.configuration) if record else None
        if configuration is not None and tunable.why_invalid(configuration, problem) is None:
            return Decision(configuration, origin, record)
    return None


def _search(tunable: Tunable, problem: Any, arguments: tuple, key: Key, anew: bool) -> Decision:
    """Measures, unless another process has meanwhile."""
    database = default_database()
    with database.only_one(key) as waited:
        known = _known(tunable, problem, key) if waited and not anew else None
        if known is not None:
            return known
        first = (tunable.configuration_from(r.configuration) for r in shipped.starting_points(key))
        seconds = config.autotune_seconds()
        known_good = [c for c in first if c is not None]
        try:
            with _Progress(f"fastk: tuning {tunable.name} {_words(problem)}, up to {seconds:g} s") as say:
                found = search(tunable, problem, arguments, new_timer(), seconds, known_good, new_compiler(), say)
        except torch.OutOfMemoryError:
            _note_once(f"{tunable.name} is not tuned: there is no memory for a second result beside the call's own.")
            return Decision(tunable.default(problem), "default")
        record = record_of(key, found, tunable.default(problem))
        database.put(record)
    for reason in found.reasons:
        logger.info("%s: a candidate was dropped: %s", key.tunable, reason)
    return Decision(found.best, "measured", record)


def record_of(key: Key, found: Result, default: Any) -> Record:
    """What the database keeps of a search."""
    timings = [{**asdict(t), "configuration": to_data(t.configuration)} for t in found.timings.values()]
    return Record(
        key,
        to_data(found.best),
        found.microseconds(found.best),
        found.microseconds(default),
        timings,
        dict(found.failures),
        found.untried,
        round(found.seconds, 3),
        {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)},
    )


def new_timer() -> Any:
    """What a search measures with; tests put a clock of their own here."""
    return CudaTimer()


@functools.cache
def new_compiler() -> Any:
    """What a search compiles with: one for all, so that its processes are started once."""
    return Workers()


class _Progress:
    """Tells on standard error what goes on: once it takes longer than a second, and then each second at the most."""

    def __init__(self, title: str, patience: float = 1.0):
        self._title, self._patience = title, patience
        self._last = time.monotonic()
        self._first = threading.Timer(patience, self._tell, ("compiling",))  # which may take long before it says so

    def __enter__(self) -> _Progress:
        self._first.daemon = True
        self._first.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._first.cancel()

    def __call__(self, line: str) -> None:
        """A line of progress, told where the last one was long ago."""
        if time.monotonic() - self._last >= self._patience:
            self._tell(line)

    def _tell(self, line: str) -> None:
        self._last = time.monotonic()
        print(f"{self._title}: {line}", file=sys.stderr, flush=True)


def _words(problem: Any) -> str:
    """The numbers of a problem but for those of the device."""
    numbers = {k: v for k, v in problem._asdict().items() if isinstance(v, int) and not isinstance(v, bool)}
    return " ".join(f"{name}={value}" for name, value in numbers.items() if name not in ("architecture", "sm_count"))


def _keep(tunable: Tunable, mode: str, problem: Any, decision: Decision) -> Decision:
    tunable.decided[mode][problem] = decision
    return decision


def _note_once(sentence: str) -> None:
    if sentence not in _noted:
        _noted.add(sentence)
        logger.info("%s", sentence)
