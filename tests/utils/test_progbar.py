"""The progress bar: what is on the screen, when it is drawn, and what it costs."""

import io
import re
import sys
import time

import numpy as np
import pytest
import torch

from fastk.utils import progbar as module
from fastk.utils.progbar import Progbar

COLOUR = re.compile(r"\x1b\[\d+m")


class Stream(io.StringIO):
    """A standard output that may be a terminal, of some encoding."""

    def __init__(self, terminal=False, encoding="utf-8"):
        super().__init__()
        self.terminal, self.given_encoding = terminal, encoding

    @property
    def encoding(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.given_encoding

    def isatty(self):
        return self.terminal

    @property
    def text(self):
        return COLOUR.sub("", self.getvalue())

    def screen(self, columns):
        """The rows that a terminal of that width shows: a long line wraps, `\\r` goes to the start of its last row."""
        rows, column = [""], 0
        for character in self.text:
            if character == "\n":
                rows, column = [*rows, ""], 0
            elif character == "\r":
                column = 0
            else:
                if column == columns:
                    rows, column = [*rows, ""], 0
                rows[-1] = rows[-1][:column] + character + rows[-1][column + 1 :]
                column += 1
        return [row.rstrip() for row in rows]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock)
    return clock


@pytest.fixture
def output(monkeypatch):
    def redirect(terminal=False, columns=120, encoding="utf-8"):
        stream = Stream(terminal, encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("COLUMNS", str(columns))
        return stream

    for name in ("NO_COLOR", "PYCHARM_HOSTED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return redirect


class TestLine:
    def test_final_line(self, output, clock):
        stream, bar = output(), Progbar(45)
        clock.now += 1.0
        bar.update(1)
        clock.now += 44 * 0.003
        bar.update(45, [("accuracy", 0.91234), ("loss", 0.00031234)])
        assert stream.getvalue() == "45/45 ━━━━━━━━━━━━━━━━━━━━ 1s 3ms/step - accuracy: 0.9123 - loss: 3.1234e-04\n"

    def test_line_under_way(self, output, clock):
        stream, bar = output(terminal=True), Progbar(40, width=8)
        bar.update(1)
        clock.now += 0.9
        bar.update(10, [("loss", 2.0)])
        assert stream.text.split("\r")[-1].rstrip() == "10/40 ━━━━━━━━ 3s 100ms/step - loss: 2.0000"
        assert "\x1b[32m━━\x1b[37m━━━━━━\x1b[0m" in stream.getvalue()

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0, "0s/step"),
            (2e-6, "2us/step"),
            (9.9e-4, "990us/step"),
            (0.0154, "15ms/step"),
            (1.4, "1s/step"),
            (70, "70s/step"),
        ],
    )
    def test_time_of_a_step(self, output, clock, seconds, shown):
        stream, bar = output(), Progbar(3)
        bar.update(1)
        clock.now += 2 * seconds
        bar.update(3)
        assert f" {shown}\n" in stream.text

    @pytest.mark.parametrize(
        ("seconds", "shown"), [(59, "59s"), (60, "60s"), (61, "1:01"), (3600, "60:00"), (3725, "1:02:05")]
    )
    def test_time_left(self, output, clock, seconds, shown):
        stream, bar = output(terminal=True), Progbar(3)
        bar.update(1)
        clock.now += seconds
        bar.update(2)
        assert f" {shown} " in stream.text.split("\r")[-1]

    def test_first_step_is_left_out_of_the_time(self, output, clock):
        stream, bar = output(), Progbar(3)
        clock.now += 500
        bar.update(1)
        clock.now += 2
        bar.update(3)
        assert "502s 1s/step" in stream.text

    def test_unknown_target(self, output, clock):
        stream, bar = output(), Progbar(None)
        clock.now += 2
        bar.update(8, [("loss", 1.0)])
        assert stream.getvalue() == ""
        bar.update(8, finalize=True)
        assert stream.getvalue() == "      8/Unknown 2s 250ms/step - loss: 1.0000\n"

    @pytest.mark.parametrize("verbose", [1, 2])
    def test_target_zero(self, output, clock, verbose):
        stream = output()
        Progbar(0, verbose=verbose).update(0, finalize=True)
        assert "0/Unknown" in stream.text

    def test_more_steps_than_the_target(self, output, clock):
        stream = output()
        Progbar(2).update(5)
        assert "5/2 ━━━━━━━━━━━━━━━━━━━━ 0s" in stream.text

    def test_verbose_2(self, output, clock):
        stream, bar = output(terminal=True), Progbar(2, verbose=2)
        bar.update(1, [("loss", 5.0)])
        assert stream.getvalue() == ""
        clock.now += 1
        bar.update(2, [("loss", 3.0)])
        assert stream.getvalue() == "2/2 - 1s - 1s/step - loss: 3.0000\n"

    def test_verbose_0(self, output, clock):
        stream, bar = output(terminal=True), Progbar(2, verbose=0)
        bar.update(1, [("loss", 5.0)])
        bar.update(2, lambda: pytest.fail("fetched for nothing"))
        assert stream.getvalue() == ""

    def test_unit_and_add(self, output, clock):
        stream, bar = output(), Progbar(10, unit_name="sample")
        for _ in range(5):
            bar.add(2, [("loss", 1.0)])
        assert "10/10" in stream.text and "/sample - loss" in stream.text


class TestValues:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (1, "1.0000"),
            (np.array(1.0), "1.0000"),
            (np.float32(0.25), "0.2500"),
            ([0.0, 1.0, 2.0], "1.0000"),
            (np.array([1, 2]), "1.5000"),
            (torch.tensor(2.5, requires_grad=True), "2.5000"),
            (torch.tensor([1, 2]), "1.5000"),
            (torch.tensor(0.5, dtype=torch.bfloat16), "0.5000"),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            (-0.5, "-0.5000"),
            (0.0, "0.0000e+00"),
            (1e-3, "1.0000e-03"),
            (1e9, "1000000000.0000"),
            ("warming up", "warming up"),
        ],
    )
    @pytest.mark.parametrize("stateless_metrics", [None, []])
    def test_kinds(self, output, clock, value, shown, stateless_metrics):
        stream, bar = output(), Progbar(2, stateless_metrics=stateless_metrics)
        bar.update(1, [("m", value)])
        bar.update(2)
        assert stream.text.endswith(f" - m: {shown}\n")

    @pytest.mark.parametrize(
        ("settings", "shown"),
        [
            ({}, 1.5),
            ({"stateful_metrics": []}, 1.5),
            ({"stateful_metrics": ["m"]}, 3.0),
            ({"stateless_metrics": []}, 3.0),
            ({"stateless_metrics": ["m"]}, 1.5),
        ],
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_averages(self, output, clock, settings, shown, lazy):
        """(1·1 + 1·0 + 2·2.5) / 4 = 1.5, whether or not the updates are drawn."""
        stream, bar = output(terminal=True), Progbar(100, **settings)
        for step, value in ((1, 1.0), (2, 0.0), (4, 2.5)):
            clock.now += 1.0 if lazy else 0.001
            bar.update(step, (lambda value=value: {"m": value}) if lazy else [("m", value)])
        if shown == 3.0:
            bar.update(5, [("m", 3.0)])
        clock.now += 1.0
        bar.update(5, None)
        assert f"m: {shown:.4f}" in stream.text.split("\r")[-1]

    def test_last_value_is_shown_as_it_is(self, output, clock):
        stream, bar = output(), Progbar(2)
        bar.update(1, [("m", 1.0)])
        bar.update(2, [("m", 5.0)])
        assert "m: 5.0000" in stream.text

    def test_both_kinds_raise(self):
        with pytest.raises(ValueError, match="Only one of"):
            Progbar(1, stateful_metrics=[], stateless_metrics=[])


class TestWhenItDraws:
    def test_values_are_fetched_only_to_be_drawn(self, output, clock):
        stream, bar, fetched = output(terminal=True), Progbar(1000, stateless_metrics=()), []

        def fetch(step):
            fetched.append(step)
            return {"loss": float(step)}

        for step in range(1, 1000):
            clock.now += 0.001
            bar.update(step, lambda step=step: fetch(step))
        assert len(fetched) == stream.text.count("\r") <= 1 + 0.999 / 0.05
        bar.update(1000, lambda: fetch(1000))
        assert fetched[-1] == 1000 and "loss: 1000.0000" in stream.text

    def test_nothing_is_fetched_for_a_pipe_before_the_end(self, output, clock):
        stream, bar = output(), Progbar(100)
        for step in range(1, 100):
            clock.now += 1
            bar.update(step, lambda: pytest.fail("fetched for nothing"))
        assert stream.getvalue() == ""
        bar.update(100, lambda: [("loss", 1.0)])
        assert stream.getvalue().count("\n") == 1 and "\r" not in stream.getvalue()
        assert "\x1b" not in stream.getvalue()

    def test_values_of_an_update_not_drawn_are_kept_for_the_next(self, output, clock):
        stream, bar = output(), Progbar(2, stateless_metrics=())
        bar.update(1, {"loss": 4.0})
        bar.update(2)
        assert "loss: 4.0000" in stream.text

    def test_interval_0_writes_a_line_for_every_update(self, output, clock):
        stream, bar = output(), Progbar(3, interval=0)
        for step in (1, 2, 3):
            bar.update(step, [("loss", 1.0)])
        assert [line.split()[0] for line in stream.text.splitlines()] == ["1/3", "2/3", "3/3"]
        assert "━──" not in stream.text.splitlines()[2] and "━─" in stream.text.splitlines()[0]

    def test_a_slow_fetch_does_not_make_it_draw_at_every_step(self, output, clock):
        stream, bar = output(terminal=True), Progbar(100, stateless_metrics=())

        def slow():
            clock.now += 0.2
            return {}

        bar.update(1, slow)
        clock.now += 0.01
        bar.update(2, slow)
        assert stream.text.count("\r") == 1

    def test_notebook_redraws_without_colours(self, output, clock, monkeypatch):
        stream = output()
        monkeypatch.setitem(sys.modules, "ipykernel", object())
        bar = Progbar(3)
        for step in (1, 2, 3):
            clock.now += 1
            bar.update(step)
        assert stream.getvalue().count("\r") == 3 and "\x1b" not in stream.getvalue()
        assert "━━━━━━───" in stream.getvalue()

    def test_without_a_console(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", None)
        Progbar(1).update(1, [("loss", 1.0)])

    def test_cost_of_an_update_that_is_not_drawn(self, output):
        """Measured at 0.2 µs; the bound leaves room for a busy machine."""
        output()
        bar, values = Progbar(10**9, stateless_metrics=()), dict
        bar.update(1, values)
        best = float("inf")
        for _ in range(20):
            start = time.perf_counter()
            for step in range(2, 1002):
                bar.update(step, values, False)
            best = min(best, (time.perf_counter() - start) / 1000)
        assert best < 1.5e-6


class TestTerminal:
    @pytest.mark.parametrize("columns", [10, 20, 40, 47, 48, 60, 80, 200])
    def test_never_wraps(self, output, clock, columns):
        """An epoch leaves its last line on the screen, in rows shorter than it, and nothing of what was drawn over."""
        stream, bar = output(terminal=True, columns=columns), Progbar(30, stateless_metrics=())
        metrics = {f"metric_{i}": i + 0.5 for i in range(6)}
        for step in range(1, 31):
            clock.now += 0.1
            bar.update(step, dict(list(metrics.items())[: 6 if step < 20 else 2]) if step < 30 else metrics)
            if step < 30:
                assert len(stream.screen(columns)) == 1 and stream.screen(columns)[0].startswith(
                    f"{step:2d}/30"[:columns]
                )
        if columns > 22:  # there is room for a metric on a line of its own
            rows = stream.screen(columns)
            assert all(len(row) < columns for row in rows)
            for name, value in metrics.items():
                assert any(f"{name}: {value:.4f}" in row for row in rows)

    def test_shorter_line_covers_the_longer_one(self, output, clock):
        stream, bar = output(terminal=True), Progbar(9, stateless_metrics=())
        bar.update(1, {"status": "a long message"})
        clock.now += 1
        bar.update(2, {"status": "-"})
        assert stream.screen(120)[-1].endswith("status: -")

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no-such-encoding"])
    def test_ascii_bar(self, output, clock, encoding):
        stream, bar = output(terminal=True, columns=40, encoding=encoding), Progbar(4, width=8)
        bar.update(1, [("a_long_name_of_a_metric", 1.0)])
        clock.now += 1
        bar.update(2)
        bar.update(4)
        assert stream.getvalue().isascii() and "[32m==\x1b[37m" not in stream.getvalue()
        wide, bar = output(terminal=True, encoding=encoding), Progbar(4, width=8)
        bar.update(2)
        assert "2/4 ====.... " in wide.text

    @pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_without_colours(self, output, clock, monkeypatch, name, value):
        stream = output(terminal=True)
        monkeypatch.setenv(name, value)
        bar = Progbar(4)
        bar.update(2)
        bar.update(4)
        assert "\x1b" not in stream.getvalue() and "━━━━━━━━━━──────────" in stream.getvalue()

    def test_colours(self, output, clock):
        stream = output(terminal=True)
        Progbar(4).update(4)
        assert stream.getvalue().startswith("\r\x1b[1m4/4\x1b[0m \x1b[32m━")
