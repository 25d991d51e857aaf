"""Logs as the callbacks get them: floats by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk.scopes import internal


def to_numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs with scalar tensors as Python floats, read from the device at once."""
    scalars = _scalars(logs)
    on_device = {name: value for name, value in scalars.items() if not value.is_cpu}
    read: dict[str, Any] = {}
    if len(on_device) > 1:
        together = torch.stack([value.detach().reshape(()).double() for value in on_device.values()])
        read = dict(zip(on_device, together.tolist(), strict=True))
    read |= {name: float(value.item()) for name, value in scalars.items() if name not in read}
    return {name: read.get(name, value) for name, value in logs.items()}


def _scalars(logs: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: x for name, x in logs.items() if isinstance(x, torch.Tensor) and x.numel() == 1}


def as_numbers(logs: Any) -> dict[str, Any]:
    """The logs of a user's step as numbers, those of metrics with several results flat."""
    if not isinstance(logs, dict):
        raise TypeError(
            f"`train_step()` and `test_step()` must return a dict of logs by name. Received: {logs!r} (of type "
            f"{type(logs)})"
        )
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return to_numbers(flat)


Logs = dict[str, Any]


class Results:
    """The results so far: called, as they are now; `finished()`, as they were when the device last sent them.

    Args:
        read: returns the results as numbers, and waits for the device.
        compute: returns them as tensors on the device.
        send: starts a copy of a tensor to the host; returns whether it has arrived, as a function, and the copy.
    """

    def __init__(self, read: Callable[[], Logs], compute: Callable[[], Logs], send: Callable[[torch.Tensor], Any]):
        self._read = read
        self._compute = compute
        self._send = send
        self._under_way: tuple[list[str], Callable[[], bool], torch.Tensor] | None = None
        self._finished: Logs = {}

    def __call__(self) -> Logs:
        """The results as they are now; waits for the device."""
        return self._read()

    def finished(self) -> Logs:
        """The latest results that have arrived, none before the first have; nobody waits for the device."""
        if self._under_way is not None and self._under_way[1]():
            names, _, values = self._under_way
            self._finished, self._under_way = dict(zip(names, values.tolist(), strict=True)), None
        if self._under_way is None:
            with internal():
                results = _scalars(self._compute())
            if results:
                together = torch.stack([x.detach().reshape(()).double() for x in results.values()])
                self._under_way = list(results), *self._send(together)
        return self._finished


def results_of(read: Callable[[], Logs], compute: Callable[[], Logs], device: torch.device) -> Callable[[], Logs]:
    """`read`, on a GPU with a way to show results that does not wait for it."""
    return Results(read, compute, _send_from_gpu) if device.type == "cuda" else read


def _send_from_gpu(values: torch.Tensor) -> tuple[Callable[[], bool], torch.Tensor]:
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copy.copy_(values, non_blocking=True)
    return torch.cuda.current_stream(values.device).record_event().query, copy
