"""The search for the fastest configuration of one problem, within a number of seconds.

Candidates come in the order of the model's prediction, behind the default and what was the fastest elsewhere, eight at
a time: compiled, dropped where they spill, run once and compared with the default's result, then raced against the
fastest so far. What fails is counted with its reason, and never chosen.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastk.autotune import model
from fastk.autotune.accuracy import copied, why_inaccurate
from fastk.autotune.compilation import LATE, Compiler
from fastk.autotune.space import Resources, Tunable
from fastk.autotune.timing import Timer, race

BATCH = 8
MARGIN = 0.98  # what is not 2 % faster than the default is noise: the default stays


@dataclass(frozen=True)
class Timing:
    """A candidate that was measured: its median in microseconds, and the clocks that the model predicted."""

    configuration: Any
    microseconds: float
    predicted: float


@dataclass
class Result:
    """What a search found; see `database.Record`."""

    best: Any
    timings: dict[Any, Timing] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    untried: int = 0
    seconds: float = 0.0

    def microseconds(self, configuration: Any) -> float:
        """The median of one that was measured."""
        return self.timings[configuration].microseconds


def predicted(
    tunable: Tunable, problem: Any, configuration: Any, compiled: Resources | None = None
) -> float:  # fmt: skip
    """The clocks that the model predicts."""
    work = tunable.work(configuration, problem)
    return model.clocks(work, problem.architecture, problem.sm_count, compiled)


def ranked(tunable: Tunable, problem: Any) -> list[tuple[float, Any]]:
    """(predicted clocks, configuration) of every valid candidate, the cheapest first."""
    costs = [(predicted(tunable, problem, c), i, c) for i, c in enumerate(tunable.valid(problem))]
    return [(cost, c) for cost, _, c in sorted(costs, key=lambda row: row[:2])]


def search(
    tunable: Tunable,
    problem: Any,
    arguments: tuple,
    timer: Timer,
    seconds: float,
    first: Iterable[Any] = (),
    compiler: Compiler | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measures candidates until all were or the time is over; the default is always one of them.

    Args:
        tunable: what is tuned.
        problem: what for.
        arguments: of its launcher, for this problem.
        timer: measures.
        seconds: no candidate is begun after them.
        first: what was the fastest elsewhere.
        compiler: compiles candidates beside each other; None: each is compiled where it first runs.
        say: told a line of progress for every few candidates.
    """
    start = timer.now()
    default = tunable.default(problem)
    order = [c for _, c in ranked(tunable, problem)]
    known = [c for c in first if tunable.why_invalid(c, problem) is None]
    queue = [c for c in dict.fromkeys((*known, *order)) if c != default]
    result = Result(default)
    trials = _Trials(tunable, problem, arguments, default)
    while queue and timer.now() - start < seconds:
        batch, queue = queue[:BATCH], queue[BATCH:]
        compiled, late = _compiled(result, trials, batch, compiler, start + seconds - timer.now())
        result.untried += late
        accurate = [c for c in compiled if _passes(result, trials, c)]
        if accurate:
            _measure(result, trials, [result.best, *accurate], timer, start + seconds)
        say(f"{len(result.timings)} measured, {len(queue)} to go, the best is {result.best}")
    _measure(result, trials, list(dict.fromkeys((default, result.best))), timer, start + seconds)  # side by side
    if result.microseconds(result.best) > MARGIN * result.microseconds(default):
        result.best = default
    result.untried += len(queue)
    result.seconds = timer.now() - start
    return result


class _Trials:
    """Runs of a launcher on the call's arguments, or on copies where it writes to them."""

    def __init__(self, tunable: Tunable, problem: Any, arguments: tuple, default: Any):
        self.tunable, self.problem, self.arguments = tunable, problem, arguments
        self._run = tunable.runner(copied(arguments) if tunable.in_place else arguments)
        self.reference = self.outcome(default)

    def outcome(self, configuration: Any) -> Any:
        """What a launch leaves behind: its results, or the arguments that it wrote to."""
        if not self.tunable.in_place:
            return self._run(configuration)
        arguments = copied(self.arguments)
        self.tunable.run(arguments, configuration)
        return arguments

    def timed(self, configuration: Any) -> Callable[[], Any]:
        """A run to be timed; its results are let go."""
        return lambda: self._run(configuration)


def _compiled(
    result: Result, trials: _Trials, batch: Sequence[Any], compiler: Compiler | None, seconds: float
) -> tuple[list[Any], int]:
    """Those of a batch that compile without spills, the cheapest by what they take first; and how many were late."""
    tunable, problem = trials.tunable, trials.problem
    if compiler is None or not tunable.compiler or problem.architecture not in model.RATES:
        return list(batch), 0  # each is compiled where it first runs
    outcomes = compiler.compile(tunable, problem, trials.arguments, batch, max(1.0, seconds))
    good: list[tuple[float, int, Any]] = []
    for i, (configuration, outcome) in enumerate(zip(batch, outcomes, strict=True)):
        if outcome == LATE:
            continue
        if isinstance(outcome, str):
            _fail(result, configuration, "does not compile", outcome)
        elif outcome.spill_bytes:
            _fail(result, configuration, "spills", f"{outcome.spill_bytes} bytes a thread")
        else:
            good.append((predicted(tunable, problem, configuration, outcome), i, configuration))
    return [c for *_, c in sorted(good, key=lambda row: row[:2])], outcomes.count(LATE)


def _passes(result: Result, trials: _Trials, configuration: Any) -> bool:
    """Whether a candidate runs, and computes what the default does."""
    try:
        outcome = trials.outcome(configuration)
    except Exception as error:  # a candidate that cannot be launched is dropped and counted, whatever it says
        _fail(result, configuration, "does not run", f"{type(error).__name__}: {error}")
        return False
    wrong = why_inaccurate(outcome, trials.reference, trials.tunable.accuracy(trials.problem))
    if wrong is not None:
        _fail(result, configuration, "inaccurate", wrong)
    return wrong is None


def _fail(result: Result, configuration: Any, why: str, words: str) -> None:
    result.failures[why] += 1
    result.reasons.append(f"{configuration}: {why}: {words.splitlines()[0] if words else ''}")


def _measure(result: Result, trials: _Trials, configurations: list[Any], timer: Timer, until: float) -> None:
    """Races configurations, the fastest so far first, and keeps the fastest."""
    samples = race([trials.timed(c) for c in configurations], timer, until)
    for configuration, times in zip(configurations, samples, strict=True):
        cost = predicted(trials.tunable, trials.problem, configuration)
        result.timings[configuration] = Timing(configuration, statistics.median(times), cost)
    result.best = min(configurations, key=result.microseconds)
