"""Logs as the callbacks get them: floats by name."""

from __future__ import annotations

from typing import Any

import torch


def to_numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs with scalar tensors as Python floats, read from the device at once."""
    scalars = {name: value for name, value in logs.items() if isinstance(value, torch.Tensor) and value.numel() == 1}
    on_device = {name: value for name, value in scalars.items() if not value.is_cpu}
    read: dict[str, Any] = {}
    if len(on_device) > 1:
        together = torch.stack([value.detach().reshape(()).double() for value in on_device.values()])
        read = dict(zip(on_device, together.tolist(), strict=True))
    read |= {name: float(value.item()) for name, value in scalars.items() if name not in read}
    return {name: read.get(name, value) for name, value in logs.items()}


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
