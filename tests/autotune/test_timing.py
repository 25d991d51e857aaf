"""The order of what the timer queues, on a device that notes it."""

import torch

from fastk.autotune import timing
from fastk.autotune.timing import CudaTimer


def test_a_round_is_queued_whole_and_waited_for_once(monkeypatch):
    noted, clock = [], iter([10.0, 10.5, 20.0, 20.25])

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            noted.append("event")

        def elapsed_time(self, end):
            assert "waited" in noted
            return 0.25  # milliseconds

    class Properties:
        L2_cache_size = 50 << 20

    empty = torch.empty
    flushed = []

    def on_cpu(size, dtype, device):
        flushed.append(size)
        return Flushed(empty(1))

    class Flushed:
        def __init__(self, tensor):
            self.tensor = tensor

        def zero_(self):
            noted.append("flush")

    monkeypatch.setattr(timing.torch, "empty", on_cpu)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    for name, fake in {
        "Event": Event,
        "get_device_properties": lambda device: Properties,
        "synchronize": lambda: noted.append("waited"),
        "_sleep": lambda cycles: noted.append(cycles),
    }.items():
        monkeypatch.setattr(timing.torch.cuda, name, fake)
    timer = CudaTimer()
    assert flushed == [100 << 20]  # twice the L2
    runs = [lambda: noted.append("a"), lambda: noted.append("b")]
    assert timer.round(runs) == [250.0, 250.0]
    one = ["flush", "event", "a", "event", "flush", "event", "b", "event", "waited"]
    assert noted[1:] == one
    noted.clear()
    timer.round(runs)
    assert noted == [int(1.2 * 0.5 * timing.CLOCK), *one]  # as long as the host took for the first round
