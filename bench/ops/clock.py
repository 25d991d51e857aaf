"""Times of calls that take turns: on a GPU replays of CUDA graphs with a cold second-level cache, on a CPU calls.

What a GPU is given is captured once, so that kernels are compared and not their launching; events on the stream stand
around each replay. On a CPU a sample is as many calls as fill `SAMPLE`, whose operands are in the caches if they fit;
`cold` reads a large buffer before each sample, which is then one call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from fastk.bench.turns import rotated

SAMPLE = 2e-4  # seconds: well above what reading the clock takes
FEWEST = 3  # rounds, however long they take
FLUSH = 256 << 20  # bytes: more than any cache of the last level

Call = Callable[[], object]
K = TypeVar("K")


class Clock(Protocol):
    """Makes calls ready and times them."""

    def ready(self, call: Call) -> Call:
        """The call as it will be timed, warmed up."""
        ...

    def milliseconds(self, ready: Call) -> float:
        """The time of one call."""
        ...


class CpuClock:
    """Wall-clock time.

    Args:
        cold: whether to empty the caches before each sample.
    """

    def __init__(self, cold: bool = False):
        self._flush = torch.zeros(FLUSH // 4) if cold else None
        self._repeats: dict[int, int] = {}

    def ready(self, call: Call) -> Call:
        """Calls until one takes no longer than the one before, or three times; then counts how many make a sample."""
        seconds = math.inf
        for _ in range(3):
            before, seconds = seconds, _seconds(call)
            if seconds >= before:
                break
        self._repeats[id(call)] = 1 if self._flush is not None else max(1, math.ceil(SAMPLE / seconds))
        return call

    def milliseconds(self, ready: Call) -> float:
        """The mean time of a sample's calls."""
        if self._flush is not None:
            self._flush.sum()
        repeats = self._repeats[id(ready)]
        start = time.perf_counter()
        for _ in range(repeats):
            ready()
        return (time.perf_counter() - start) / repeats * 1e3


class GpuClock:
    """Time between CUDA events."""

    def __init__(self) -> None:
        self._flush = torch.empty(FLUSH, dtype=torch.uint8, device="cuda")

    def ready(self, call: Call) -> Call:
        """The call as a graph, after the warming up that captures need."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        return graph.replay

    def milliseconds(self, ready: Call) -> float:
        """Of one replay; the write before it empties the cache, and keeps the GPU busy while the replay is queued."""
        self._flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        ready()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


def clock_of(device: str, cold: bool) -> Clock:
    """The clock of a device; a GPU's caches are always cold."""
    return GpuClock() if device == "cuda" else CpuClock(cold)


def in_turns(clock: Clock, ready: dict[K, Call], rounds: int, seconds: float) -> dict[K, list[float]]:
    """Milliseconds of each call in each round; the order rotates.

    Args:
        clock: what `ready` was made by.
        ready: the calls.
        rounds: at most so many,
        seconds: and none is begun after that long, but for the first `FEWEST`.
    """
    times: dict[K, list[float]] = {name: [] for name in ready}
    start = time.perf_counter()
    for number in range(rounds):
        if number >= FEWEST and time.perf_counter() - start > seconds:
            break
        for name in rotated(list(ready), number):
            times[name].append(clock.milliseconds(ready[name]))
    return times


def launches(call: Call) -> int | None:
    """How many kernels, copies and fills a call starts on the GPU; None where the profiler sees none."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    return sum(event.device_type == on_device for event in profile.events() or ()) or None


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
