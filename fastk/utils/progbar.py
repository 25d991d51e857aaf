"""`Progbar`: how far a loop has come, on one line that is redrawn in place."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastk import config
from fastk.messages import is_interactive_logging_enabled, is_quiet, tell

Values = Mapping[str, Any] | Iterable[tuple[str, Any]] | Callable[[], Any]

_BOLD, _GREEN, _GREY, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """A progress bar with the values of metrics beside it.

    In a terminal or a notebook the line is redrawn in place. Elsewhere (a pipe, a file) only the last line of the bar
    is written; with `interval=0`, a line for every update.

    Args:
        target: the number of steps; None where it is not known.
        width: of the bar, in characters; less where the terminal has no room for it.
        verbose: 0 for nothing, 1 for the bar, 2 for one line at the end.
        interval: the least time between two drawings, in seconds.
        stateful_metrics: names of values shown as they are; all others are averaged over the steps.
        stateless_metrics: names of values averaged over the steps; all others are shown as they are. Only one of the
            two may be given; with neither, all values are averaged.
        unit_name: what is counted.

    The colours are those of a terminal alone, and left out where `NO_COLOR` is set or `TERM` is `dumb`.

    >>> bar = Progbar(3)
    >>> for step in range(1, 4):
    ...     bar.update(step, [("loss", 1 / step)])  # doctest: +ELLIPSIS
    3/3 ━━━━━━━━━━━━━━━━━━━━ 0s ...s/step - loss: 0.3333
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of `stateful_metrics` and `stateless_metrics` can be given: each names the exceptions, "
                f"the other kind being the rule. Received: {stateful_metrics!r} and {stateless_metrics!r}."
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ()) if stateless_metrics is None else None
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)

        terminal = _is_terminal(sys.stdout)
        self._in_place = terminal or "ipykernel" in sys.modules or bool(config.read_environment("PYCHARM_HOSTED"))
        self._fits_terminal = terminal
        plain = config.read_environment("NO_COLOR") or config.read_environment("TERM") == "dumb"
        self._coloured = terminal and not plain
        self._averages = self.stateless_metrics is None or bool(self.stateless_metrics)
        self._draws = verbose == 1 and (self._in_place or interval <= 0)
        self._next_drawing = 0.0 if self._draws else math.inf
        self._values: dict[str, tuple[Any, int]] = {}  # the sum of a value over steps, and their number
        self._undrawn: Values | None = None
        self._seen_so_far = 0
        self._absorbed_so_far = 0
        self._start = time.perf_counter()
        self._after_first_step: float | None = None
        self._drawn_width = 0

    def update(self, current: int, values: Values | None = None, finalize: bool | None = None) -> None:
        """Says that `current` steps are done.

        Args:
            current: the steps done so far.
            values: names and their values at this step: pairs, a mapping, or a function without arguments that returns
                either. The function is called when the bar is drawn and not otherwise: it may wait for a device. What
                is averaged counts for all the steps since the last values that were taken in.
            finalize: whether this is the last update; None for `current >= target`.
        """
        now = time.perf_counter()
        self._seen_so_far = current
        if current == 1:
            self._after_first_step = now
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        if not finalize and now < self._next_drawing:
            if values is not None:
                if self._averages and not callable(values):
                    self._absorb(values, False)
                else:
                    self._undrawn = values
            return
        if self.verbose == 0:
            return
        values = self._undrawn if values is None else values
        if values is not None:
            self._absorb(values, finalize)
            self._undrawn = None
        self._draw(now, finalize)
        if self._draws:  # the pause starts after the drawing, which may have waited for the device
            self._next_drawing = time.perf_counter() + self.interval

    def add(self, n: int, values: Values | None = None) -> None:
        """Says that `n` more steps are done."""
        self.update(self._seen_so_far + n, values)

    def _absorb(self, values: Values, finalize: bool) -> None:
        taken: Any = values() if callable(values) else values
        steps = max(self._seen_so_far - self._absorbed_so_far, 1)
        self._absorbed_so_far = self._seen_so_far
        for name, value in dict(taken).items():
            if isinstance(value, (list, tuple)):
                value = np.mean(value)
            if finalize or not self._is_averaged(name) or isinstance(value, str):
                self._values[name] = (value, 1)
            else:
                total, count = self._values.get(name, (0.0, 0))
                self._values[name] = (total + value * steps, count + steps)

    def _is_averaged(self, name: str) -> bool:
        if self.stateless_metrics is not None:
            return name in self.stateless_metrics
        return name not in (self.stateful_metrics or ())

    def _draw(self, now: float, finalize: bool) -> None:
        stream = sys.stdout
        if stream is None or is_quiet():  # a program without a console, or of several processes not the first
            return
        if not is_interactive_logging_enabled() and not finalize:
            return  # the log gets one line in the end
        head, clock, rate = self._texts(now, finalize)
        metrics = [f" - {name}: {_format(*value)}" for name, value in self._values.items()]
        if self.verbose == 2 or not is_interactive_logging_enabled():
            tell(f"{head} - {clock} - {rate}{''.join(metrics)}")
            return
        full, empty, cut = ("━", "─", "…") if _encodes(stream, "━─…") else ("=", ".", "~")
        columns = shutil.get_terminal_size().columns - 1 if self._fits_terminal else sys.maxsize
        plain, coloured = f"{head} {clock}", f"{_BOLD}{head}{_PLAIN} {_BOLD}{clock}{_PLAIN}"
        if self.target:
            room, metrics_width = columns - len(f"{plain}  {rate}"), sum(map(len, metrics))
            if not finalize or metrics_width <= room:  # else they go on lines of their own
                room -= metrics_width
            width = max(0, min(self.width, room))
            done = int(width * min(1.0, self._seen_so_far / self.target))
            bar = full * done, (full if self._coloured and full == "━" else empty) * (width - done)
            plain = f"{head} {''.join(bar)} {clock}"
            coloured = f"{_BOLD}{head}{_PLAIN} {_GREEN}{bar[0]}{_GREY}{bar[1]}{_PLAIN} {_BOLD}{clock}{_PLAIN}"
        pieces = [f"{plain} {rate}", *metrics]
        # The last line is kept whole, on several lines if need be. One that will be drawn over is cut, for `\r` cannot
        # go back over two.
        lines = _lay_out(pieces, columns) if finalize else ["".join(pieces)]
        if len(lines[0]) > columns:
            lines[0] = lines[0][: columns - 1] + cut
        width = len(lines[0])
        if self._coloured and lines[0].startswith(plain):
            lines[0] = coloured + lines[0][len(plain) :]
        if self._in_place:
            lines[0] = "\r" + lines[0] + " " * min(self._drawn_width - width, columns - width)
        self._drawn_width = width
        stream.write("\n".join(lines) + ("\n" if finalize or not self._in_place else ""))
        stream.flush()

    def _texts(self, now: float, finalize: bool) -> tuple[str, str, str]:
        """The count, the time left or (at the end) spent, and the time of a step."""
        current, target = self._seen_so_far, self.target
        per_unit = self._time_per_unit(now)
        head = f"{current:{len(str(target))}d}/{target}" if target else f"{current:7d}/Unknown"
        if target and not finalize:
            clock = _format_duration(per_unit * max(0, target - current))
        else:
            clock = f"{now - self._start:.0f}s"
        if per_unit >= 1 or per_unit == 0:
            rate = f"{per_unit:.0f}s"
        elif per_unit >= 1e-3:
            rate = f"{per_unit * 1e3:.0f}ms"
        else:
            rate = f"{per_unit * 1e6:.0f}us"
        return head, clock, f"{rate}/{self.unit_name}"

    def _time_per_unit(self, now: float) -> float:
        """Seconds a step, the first one left out where it can be: it compiles and warms up."""
        current = self._seen_so_far
        if current > 1 and self._after_first_step is not None:
            return (now - self._after_first_step) / (current - 1)
        return (now - self._start) / current if current else 0.0


def _is_terminal(stream: Any) -> bool:
    return bool(stream is not None and hasattr(stream, "isatty") and stream.isatty())


def _encodes(stream: Any, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _lay_out(pieces: list[str], columns: int) -> list[str]:
    """The pieces one after the other, on a new, indented line wherever the next would not fit."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) > columns:
            lines.append("   " + piece)
        else:
            lines[-1] += piece
    return lines


def _format(total: Any, count: int) -> str:
    if isinstance(total, str):
        return total
    if hasattr(total, "detach"):
        total = total.detach().double().mean().item()
    mean = float(np.mean(total)) / count
    return f"{mean:.4f}" if abs(mean) > 1e-3 else f"{mean:.4e}"


def _format_duration(seconds: float) -> str:
    whole = int(seconds)
    if whole > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole > 60 else f"{whole}s"
