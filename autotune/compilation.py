"""Candidates compiled by processes beside each other, before any is timed.

Each process (`fastk.autotune.worker`) compiles without a GPU, for the architecture that the problem names, into
Triton's cache, where the launch that is timed finds the kernel. They are plain processes of Python that talk JSON:
`multiprocessing` would run the user's script again in each of them.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from fastk import config
from fastk.autotune.space import Resources, Tunable, problem_to_data, to_data

Outcome = Resources | str  # what a compiled candidate takes, or why it cannot be compiled
LATE = "not compiled in time"


class Compiler(Protocol):
    """What a search compiles with."""

    def compile(
        self, tunable: Tunable, problem: Any, arguments: tuple, candidates: Sequence[Any], seconds: float
    ) -> list[Outcome]:
        """What became of each candidate, launched with such arguments, within so many seconds."""
        ...


class Workers:
    """Up to `jobs` worker processes: started at the first use, ended after `idle` seconds without one.

    They end with this process, whatever ends it.

    Args:
        jobs: how many; None for one for each usable core, and 8 at the most: each has torch and Triton in memory.
        idle: seconds.
    """

    def __init__(self, jobs: int | None = None, idle: float = 30.0):
        self._jobs = jobs or min(8, usable_cores())
        self._idle_seconds = idle
        self._idle: list[subprocess.Popen] = []
        self._lock = threading.Lock()  # of whoever compiles, or ends idle workers
        self._closing: threading.Timer | None = None

    def compile(
        self, tunable: Tunable, problem: Any, arguments: tuple, candidates: Sequence[Any], seconds: float
    ) -> list[Outcome]:
        """Compiles; a worker that dies takes its candidate with it and is replaced, one that is too late is ended."""
        with self._lock:
            if self._closing is not None:
                self._closing.cancel()
            outcomes = self._compile(pack(arguments), tunable, problem, candidates, seconds)
            self._closing = threading.Timer(self._idle_seconds, self.close)
            self._closing.daemon = True
            self._closing.start()
        return outcomes

    def close(self) -> None:
        """Ends the workers."""
        with self._lock:
            _kill(self._idle)
            while self._idle:
                _hang_up(self._idle.pop())

    def _compile(
        self, packed: str, tunable: Tunable, problem: Any, candidates: Sequence[Any], seconds: float
    ) -> list[Outcome]:
        outcomes: list[Outcome] = [LATE] * len(candidates)
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for i in range(len(candidates)):
            waiting.put(i)
        stop = threading.Event()
        running: list[subprocess.Popen] = []

        def serve() -> None:
            while not stop.is_set():
                try:
                    i = waiting.get_nowait()
                except queue.Empty:
                    return
                outcome = self._ask(request(tunable, problem, packed, candidates[i]), running)
                outcomes[i] = LATE if stop.is_set() and isinstance(outcome, str) else outcome

        def end() -> None:
            stop.set()
            _kill(list(running))

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(self._jobs, len(candidates)))]
        timer = threading.Timer(seconds, end)
        timer.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        timer.cancel()
        return outcomes

    def _ask(self, asked: dict[str, Any], running: list[subprocess.Popen]) -> Outcome:
        worker = self._idle.pop() if self._idle else _start()
        running.append(worker)
        try:
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write(json.dumps(asked) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            running.remove(worker)
        if not line:
            _hang_up(worker)
            return f"the process that compiled it ended with status {worker.wait()}"
        self._idle.append(worker)
        answer = json.loads(line)
        return answer["error"] if "error" in answer else Resources(**answer)


def request(tunable: Tunable, problem: Any, packed: str, candidate: Any) -> dict[str, Any]:
    """What a worker is told; the arguments as `pack` has them."""
    return {
        "module": tunable.module,
        "tunable": tunable.name,
        "problem": problem_to_data(problem),
        "configuration": to_data(candidate),
        "arguments": packed,
    }


class _WithoutData(pickle.Pickler):
    """Pickles tensors as their shape, strides and dtype."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):
            return _empty, (tuple(obj.shape), obj.stride(), obj.dtype)
        return NotImplemented


def _empty(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(shape, strides, dtype=dtype, device="meta")


def pack(arguments: tuple) -> str:
    """A launcher's arguments as text, tensors without data: sizes and strides decide what is compiled."""
    buffer = io.BytesIO()
    _WithoutData(buffer).dump(arguments)
    return base64.b64encode(buffer.getvalue()).decode()


def unpack(text: str) -> tuple:
    """The arguments of `pack`, tensors on the meta device."""
    return pickle.loads(base64.b64decode(text))


def usable_cores() -> int:
    """The cores that this process may use."""
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> subprocess.Popen:
    """A worker with this process's paths; without a GPU, which it has no use for."""
    environment = config.environment_with(
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path), CUDA_VISIBLE_DEVICES="", TRITON_INTERPRET="0"
    )
    command = [sys.executable, "-W", "ignore", "-m", "fastk.autotune.worker"]  # what it warns of, this process does
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)


def _hang_up(worker: subprocess.Popen) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was still to be written is of no use to it
                pipe.close()


def _kill(workers: list[subprocess.Popen]) -> None:
    for worker in workers:
        worker.kill()
        worker.wait()
