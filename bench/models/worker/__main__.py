"""Reads a command a line and answers each with a line of JSON; between commands it waits and must use no processor
time.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .runners import Runner, make

ROWS, SECONDS = 15, 0.3  # calls of `predict` with one row, of which the median is taken: so many, or for so long


def peak_mb() -> float:
    """The most memory that this process has held, in 10⁶ bytes.

    Linux's `ru_maxrss` would count what the process that started this one held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds of a call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def do(command: str, runner: Runner) -> dict:
    """What a command answers."""
    if command == "train":
        seconds, loss = timed(runner.train)
        return {"seconds": seconds, "loss": loss}
    if command == "predict":
        return {"seconds": timed(runner.predict)[0]}
    if command == "predict_one":
        times: list[float] = []
        while len(times) < ROWS and sum(times) < SECONDS:
            times.append(timed(runner.predict_one)[0])
        return {"seconds": statistics.median(times)}
    if command == "memory":
        return {"peak_mb": peak_mb()}
    raise ValueError(f"Unknown command {command!r}.")


def main() -> None:
    """Serves commands until the pipe is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    threads, asked = int(sys.argv[1]), json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # before any library counts the cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    runner = make(**asked)
    answer: dict = {"parameters": runner.parameters, "device": runner.device, "peak_mb": peak_mb()}
    while True:
        busy, since = time.process_time(), time.perf_counter()
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        idle = {"idle_cpu": time.process_time() - busy, "idle": time.perf_counter() - since}
        answer = do(line.strip(), runner) | idle


if __name__ == "__main__":
    main()
