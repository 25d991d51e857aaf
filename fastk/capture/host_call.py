"""Calls that a recorder notes as one, whatever they do inside: those of the host, which differ from step to step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class _Active(threading.local):
    recorder: Any = None


active = _Active()


def host_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`; while a step is recorded the call itself is, so that a replay calls the function again.

    For what has a state on the host: an optimizer's count of steps, random numbers that are drawn ahead.

    Args:
        function: a function, or a method of an object that lives as long as the step.
        arguments: tensors, lists of tensors, and other values, which must be the same at each step.
    """
    recorder = active.recorder
    return function(*arguments) if recorder is None else recorder.host_call(function, arguments)
