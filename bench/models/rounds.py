"""The schedule: processes that take turns, and what their times amount to."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
MEASURES = ("train", "predict", "predict_one")
WARM_UP = ("train", "train", "predict", "predict_one")
SECONDS_TO_ANSWER = 600.0  # torch.compile and XLA compile in the first epoch
SPINNING = 0.05  # of a core: more than that in a waiting process disturbs the others

T = TypeVar("T")


class WorkerError(RuntimeError):
    """A process that died or did not answer; its message is a line of the report."""


class Worker:
    """A provider's process, as the parent sees it.

    Args:
        command: what to run; it answers a line of JSON once at its start and one for each line that it reads.
        environment: its environment.
    """

    def __init__(self, command: list[str], environment: dict[str, str]):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, cwd=ROOT
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Waits for an answer."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS_TO_ANSWER)
        line = self._process.stdout.readline() if ready else b""
        if not ready:
            raise WorkerError(f"no answer in {SECONDS_TO_ANSWER:.0f} s")
        if not line:
            raise WorkerError(self._last_words())
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"ended with status {status}"


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items in their cyclic order, from another one each round, so that none always follows the same."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def take_turns(workers: dict[str, Worker], rounds: int) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Runs all rounds.

    Returns:
        For each worker one dict a round, with the answer to each of `MEASURES`; and for those that failed, why.
    """
    answers: dict[str, list[dict]] = {name: [] for name in workers}
    failed: dict[str, str] = {}
    for measure in WARM_UP:
        for name, worker in workers.items():
            _ask(worker, name, measure, failed)
    for number in range(rounds):
        for name in workers:
            answers[name].append({})
        for measure in MEASURES:
            for name in rotated(list(workers), number):
                answer = _ask(workers[name], name, measure, failed)
                if answer is not None:
                    answers[name][-1][measure] = answer
    return {name: answers[name] for name in workers if name not in failed}, failed


def _ask(worker: Worker, name: str, command: str, failed: dict[str, str]) -> dict[str, Any] | None:
    if name in failed:
        return None
    try:
        return worker.ask(command)
    except WorkerError as error:
        failed[name] = str(error)
        return None


def summary(values: Sequence[float], reference: Sequence[float] | None) -> dict[str, float]:
    """Median and quartiles, and the median of the ratios to the reference's value in the same round."""
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    found = {"median": median, "q1": q1, "q3": q3}
    if reference is not None:
        found["ratio"] = statistics.median(a / b for a, b in zip(values, reference, strict=True))
    return found


def losses_agree(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Whether losses by epoch are those of the same model, started elsewhere.

    Compared is the mean over epochs, within a fifth and 0.02: between seeds it was seen to differ by up to a tenth.
    """
    mean, expected = statistics.fmean(losses), statistics.fmean(others)
    return abs(mean - expected) <= 0.2 * expected + 0.02


def spins(answers: Sequence[dict]) -> bool:
    """Whether a process used the processor while it waited."""
    waited = [a for by_measure in answers for a in by_measure.values()]
    return sum(a["idle_cpu"] for a in waited) > SPINNING * sum(a["idle"] for a in waited)


def start(provider: str, model: str, steps: int, threads: int, environment: dict[str, str]) -> Worker:
    """The process of a provider."""
    command = [sys.executable, "-m", "bench.models.worker", provider, model, str(steps), str(threads)]
    return Worker(command, environment)
