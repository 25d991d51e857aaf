"""How long candidates take: CUDA events around one launch each, the L2 cold, all candidates in turn.

Candidates that take turns meet the same clocks and temperatures; what one leaves in L2 the next does not find.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

Run = Callable[[], Any]
CLOCK = 2e9  # a second in clocks, as much as GPUs have


class Timer(Protocol):
    """What a search measures with; tests put a clock of their own in its place."""

    def now(self) -> float:
        """Seconds, from any start."""
        ...

    def round(self, runs: Sequence[Run]) -> list[float]:
        """The microseconds of one run each, one after the other."""
        ...


class CudaTimer:
    """Times on the current stream of a CUDA device. The host waits once a round, not between its runs.

    A kernel that the host is slower to launch than the device to run would be timed with the launch: so the device is
    kept busy until a round is queued, for as long as the host took for the last one.
    """

    def __init__(self, device: torch.device | None = None):
        properties = torch.cuda.get_device_properties(device)
        size = 2 * max(int(getattr(properties, "L2_cache_size", 0)), 32 << 20)
        self._flushed = torch.empty(size, dtype=torch.int8, device=device or "cuda")
        self._queueing = 2e-3  # seconds that the host took for the last round

    def now(self) -> float:
        """Seconds of the host."""
        return time.monotonic()

    def round(self, runs: Sequence[Run]) -> list[float]:
        """The microseconds of one run each, from the start of its first kernel to the end of its last."""
        events = []
        torch.cuda._sleep(int(1.2 * self._queueing * CLOCK))
        started = time.perf_counter()
        for run in runs:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flushed.zero_()
            start.record()
            run()
            end.record()
            events.append((start, end))
        self._queueing = time.perf_counter() - started
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e3 for start, end in events]


def race(runs: Sequence[Run], timer: Timer, until: float) -> list[list[float]]:
    """Samples of each run in microseconds. The slow drop out: who is far behind after 3 rounds, or behind after 8.

    Args:
        runs: each has run before, so that nothing is compiled or set up.
        timer: see `Timer`.
        until: no round begins after that; one does in any case.
    """
    samples: list[list[float]] = [[] for _ in runs]
    racing = list(range(len(runs)))
    for round_number in range(20):
        if round_number and timer.now() >= until:
            break
        turned = racing[round_number % len(racing) :] + racing[: round_number % len(racing)]
        for i, microseconds in zip(turned, timer.round([runs[i] for i in turned]), strict=True):
            samples[i].append(microseconds)
        limit = {3: 1.5, 8: 1.1}.get(round_number + 1)
        if limit:
            best = min(statistics.median(samples[i]) for i in racing)
            racing = [i for i in racing if i == 0 or statistics.median(samples[i]) <= limit * best]
    return samples
