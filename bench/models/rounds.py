"""The schedule: processes that take turns, and what their times amount to."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from fastk.bench.turns import rotated

MEASURES = ("train", "predict", "predict_one")
WARM_UP = ("train", "train", "predict", "predict_one")
SECONDS_TO_ANSWER = 600.0  # torch.compile and XLA compile in the first epoch
SPINNING = 0.05  # of a core: more than that in a waiting process disturbs the others


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
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment
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
