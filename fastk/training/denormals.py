"""Denormal numbers as zeros while a model is trained on the CPU.

The gradient of a unit that no longer answers is zero, and the optimizer's mean of it is multiplied by 0.9 a step: after
some 800 steps it is below 1.2e-38, where a processor computes 25 to 90 times slower, and it never reaches zero by
itself. Of an MLP (784-128-10) more than half of all means were there after two epochs of 400 steps, and a step took 2.5
times as long. Such numbers change no weight.

A thread begins with the setting of the one that starts it, so that OpenMP's worker threads have to be started anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

_HARD = 2  # omp_pause_hard, of OpenMP 5.0: ends the worker threads; the next parallel region starts new ones
_PARALLEL = 1 << 18  # elements of an operation that torch spreads over all threads


@contextmanager
def as_zeros(device: torch.device) -> Iterator[Callable[[bool], Any]]:
    """Worker threads take denormal numbers as zeros; the calling thread does between `flush(True)` and `flush(False)`.

    The calling thread has code of the user's between steps, to which nothing changes. Afterwards all is as before.

    Args:
        device: where the model is trained; a GPU's is not touched.

    >>> number = torch.full((), 1e-40)
    >>> with as_zeros(torch.device("cpu")) as flush:
    ...     outside = bool(number * 0.5)
    ...     flush(True)
    ...     inside = bool(number * 0.5)
    ...     flush(False)
    >>> outside, inside
    (True, False)
    """
    if device.type != "cpu" or is_flushing():
        yield nothing
        return
    restart = None
    try:
        if torch.set_flush_denormal(True):  # False where the processor cannot
            restart = _restart_of_workers() if torch.get_num_threads() > 1 else None
            if restart is not None:
                restart(_HARD)
                torch.ones(_PARALLEL).neg_()
            torch.set_flush_denormal(False)
            yield _flush
        else:
            yield nothing
    finally:
        torch.set_flush_denormal(False)
        if restart is not None:
            restart(_HARD)


def is_flushing() -> bool:
    """Whether the calling thread takes denormal numbers as zeros."""
    return not bool(torch.full((), 1e-40, dtype=torch.float32, device="cpu") * 0.5)


def _flush(on: bool) -> None:
    torch.set_flush_denormal(on)


def nothing(on: bool) -> None:
    """In the place of `_flush` where nothing is to be set."""


@cache
def _restart_of_workers() -> Callable[[int], int] | None:
    """What ends the worker threads of the calling thread; None where torch's OpenMP is not GNU's, or before 5.0."""
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    if not libraries:
        return None
    return getattr(ctypes.CDLL(str(libraries[0])), "omp_pause_resource_all", None)
