"""The charts of a report as inline SVG: colours come from the page's style sheet, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

ROW, LABELS, WIDTH = 22, 350, 960
STRETCH = 1.15  # of an axis beyond its outermost mark


@dataclass(frozen=True)
class Bar:
    """How many times as fast as the best rival, for a row of a chart.

    Args:
        label: what was measured.
        value: 2 for twice as fast.
        note: the rival, and the times.
    """

    label: str
    value: float
    note: str


@dataclass(frozen=True)
class Point:
    """An op on a roofline plot: FLOPs a byte, TFLOP/s."""

    label: str
    intensity: float
    tflops: float
    ours: bool


def bars(rows: Sequence[Bar], title: str) -> str:
    """Bars to the right of 1 for what is faster, to the left for what is slower, on a logarithmic axis."""
    low = min([1 / 1.5, *(row.value for row in rows)]) / STRETCH
    high = max([1.5, *(row.value for row in rows)]) * STRETCH
    height = ROW * (len(rows) + 1) + 8

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - 70) * math.log(value / low) / math.log(high / low)

    parts = [_open(WIDTH, height, title)]
    for tick in ticks(low, high):
        kind = "axis" if tick == 1 else "grid"
        parts.append(_line(x(tick), 4, x(tick), height - ROW, kind))
        parts.append(_text(x(tick), height - 8, f"{tick:g}×", "tick", "middle"))
    for number, row in enumerate(rows):
        y = ROW * number + 6
        start, end = sorted((x(1), x(row.value)))
        kind = "faster" if row.value >= 1 else "slower"
        tip = escape(f"{row.label}: {row.value:.2f} times as fast as {row.note}")
        parts.append(_text(LABELS - 10, y + 12, row.label, "label", "end"))
        parts.append(
            f'<rect class="{kind}" x="{start:.1f}" y="{y}" width="{max(1.0, end - start):.1f}" height="{ROW - 7}" '
            f'rx="2"><title>{tip}</title></rect>'
        )
        parts.append(_text(max(end, x(1)) + 6, y + 12, f"{row.value:.2f}×", "value"))
    return "".join([*parts, "</svg>"])


def roofline(points: Sequence[Point], copy_gbs: float, peak_tflops: float, title: str) -> str:
    """Points under the roof of a machine, on logarithmic axes; numbers are those of `legend`."""
    width, height, left, bottom, right, top = WIDTH, 420, 70, 48, 20, 16
    ridge = peak_tflops * 1e3 / copy_gbs  # FLOPs a byte, from which on products are the limit
    xs = [ridge, *(point.intensity for point in points)]
    ys = [peak_tflops, *(point.tflops for point in points)]
    x0, x1, y0, y1 = min(xs) / 2, max(xs) * 2, min(ys) / 2, max(ys) * 2

    def x(value: float) -> float:
        return left + (width - left - right) * math.log(value / x0) / math.log(x1 / x0)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * math.log(value / y0) / math.log(y1 / y0)

    parts = [_open(width, height, title)]
    for tick in ticks(x0, x1):
        parts += [_line(x(tick), top, x(tick), height - bottom, "grid")]
        parts += [_text(x(tick), height - bottom + 16, f"{tick:g}", "tick", "middle")]
    for tick in ticks(y0, y1):
        parts += [_line(left, y(tick), width - right, y(tick), "grid")]
        parts += [_text(left - 8, y(tick) + 4, f"{tick:g}", "tick", "end")]
    start = max(x0, y0 * 1e3 / copy_gbs)  # where the slope enters the plot
    roof = [(start, start * copy_gbs / 1e3), (ridge, peak_tflops), (x1, peak_tflops)]
    corners = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in roof)
    parts.append(f'<polyline class="roof" points="{corners}"/>')
    parts.append(_text(width / 2, height - 10, "FLOP a byte", "tick", "middle"))
    parts.append(_text(left, top - 4, "TFLOP/s", "tick", "middle"))
    for number, point in enumerate(points, 1):
        kind = "ours" if point.ours else "rival"
        tip = f"{point.label}: {point.tflops:.3g} TFLOP/s at {point.intensity:.3g} FLOP a byte"
        parts.append(
            f'<circle class="{kind}" cx="{x(point.intensity):.1f}" cy="{y(point.tflops):.1f}" r="5">'
            f"<title>{escape(tip)}</title></circle>"
        )
        parts.append(_text(x(point.intensity) + 7, y(point.tflops) - 5, str(number), "number"))
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, for a logarithmic axis: a dozen or so at most.

    >>> ticks(0.7, 3.0)
    [0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0]
    >>> ticks(0.1, 1000.0)
    [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        found = [value for d in decades for step in steps if low <= (value := float(f"{step}e{d}")) <= high]
        if len(found) <= 13:
            return found
    return found[:: math.ceil(len(found) / 12)]


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
