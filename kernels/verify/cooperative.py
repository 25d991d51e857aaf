"""Programs that wait for one another: a thread for each, of which one runs at a time and hands on at its atomics.

A launch with `launch_cooperative_grid=True` has all its programs on the GPU at once, so they may wait on a counter that
others raise. Where every program only waits (nothing was stored, no atomic changed memory) the launch would hang on a
GPU; here it raises `LivelockError`. So does a wait in a launch that is not cooperative, whose programs run one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from fastk.errors import FastkError

_IDLE_ROUNDS = 200  # turns of every program without a change to memory
_IDLE_ATOMICS = 2_000  # of one program that has the machine for itself


class LivelockError(FastkError, RuntimeError):
    """Programs of a kernel wait for something that no program will do."""


class _Abandoned(BaseException):
    """Unwinds the other programs' threads once one has failed."""


class Sequential:
    """Programs one after another; a program that waits waits for ever."""

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._idle = 0

    def run(self, programs: list[int], start: Callable[[int], None], body: Callable[[], object]) -> None:
        """For each program `start(program)`, which makes it the current one, then `body()`."""
        for program in programs:
            start(program)
            self._idle = 0
            body()

    def progress(self) -> None:
        """The program changed memory."""
        self._idle = 0

    def turn(self) -> None:
        """The program is at an atomic."""
        self._idle += 1
        if self._idle > _IDLE_ATOMICS:
            raise LivelockError(
                f"{self._kernel} waits for another program, and is not launched with launch_cooperative_grid=True: "
                f"{_IDLE_ATOMICS} atomics of one program have changed nothing."
            )


class Cooperative:
    """Programs that take turns at their atomics, in the order given to `run`."""

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._idle = 0
        self._failure: BaseException | None = None
        self._current = 0
        self._alive: list[int] = []
        self._batons: dict[int, threading.Semaphore] = {}
        self._start: Callable[[int], None] = lambda program: None

    def run(self, programs: list[int], start: Callable[[int], None], body: Callable[[], object]) -> None:
        """As `Sequential.run`, with the programs' threads alive at once."""
        self._start = start
        self._alive = list(programs)
        self._batons = {program: threading.Semaphore(0) for program in programs}
        threads = [threading.Thread(target=self._thread, args=(program, body), daemon=True) for program in programs]
        for thread in threads:
            thread.start()
        self._batons[programs[0]].release()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def progress(self) -> None:
        """Some program changed memory, so that others may go on."""
        self._idle = 0

    def turn(self) -> None:
        """Hands on to the next program, and returns when it is this one's turn again."""
        self._idle += 1
        if self._idle > _IDLE_ROUNDS * len(self._alive):
            raise LivelockError(
                f"{self._kernel}: {len(self._alive)} programs wait and none changes memory. Count the arrivals that "
                "the barrier expects against the grid, and see that the counter starts at zero."
            )
        me = self._current
        following = self._alive[(self._alive.index(me) + 1) % len(self._alive)]
        if following != me:
            self._batons[following].release()
            self._resume(me)

    def _resume(self, program: int) -> None:
        self._batons[program].acquire()
        if self._failure is not None:
            raise _Abandoned
        self._current = program
        self._start(program)

    def _thread(self, program: int, body: Callable[[], object]) -> None:
        try:
            with np.errstate(all="ignore"):  # set for each thread
                self._resume(program)
                body()
        except _Abandoned:
            pass
        except BaseException as error:  # raised again in the launching thread
            self._failure = self._failure or error
        self._idle = 0
        position = self._alive.index(program)
        self._alive.remove(program)
        if self._alive:
            self._batons[self._alive[position % len(self._alive)]].release()
