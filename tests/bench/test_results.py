"""Files of results, their comparison, and the page made of them."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from fastk.bench import compare, figures, report, results, svg
from fastk.bench.aims import AIMS, Aim, mean
from fastk.errors import ConfigurationError, FileFormatError

ABOUT = {
    "device": "cpu", "name": "a CPU", "cpu": "a CPU", "threads": 1, "cold": False, "versions": {"torch": "2"},
    "commit": "abc", "date": "2026-01-01T00:00:00+0000", "quick": False,
}  # fmt: skip


def row(provider: str, values: list[float], measure="forward", kind="op", case="dense", **others):
    found = {"kind": kind, "case": case, "variant": "2x3 relu", "dtype": "float32"}
    return found | {"measure": measure, "provider": provider, "ms": results.percentiles(values)} | others


def result(*rows, **about):
    return {"schema": 1, "about": ABOUT | about, "rooflines": {}, "rows": list(rows)}


def write(path, found):
    results.save(path, found["about"], found["rooflines"], found["rows"])
    return path


def test_times_become_percentiles_and_ratios():
    found = results.timed(
        {
            "fastk": [1.0, 10.0, 2.0, 8.0, 4.0],
            "torch": [2.0, 40.0, 6.0, 8.0, 4.0],
            "jax": [3.0, 30.0, 9.0, 9.0, 9.0],
            "floor": [0.1] * 5,
        }
    )
    assert found["torch"]["times_fastk"] == 2.0  # of ratios 2, 4, 3, 1, 1; not 6 / 4
    assert found["torch"]["ms"] == {"p20": 3.6, "p25": 4.0, "p50": 6.0, "p75": 8.0, "p80": 14.4, "samples": 5}
    assert {one["best_rival"] for one in found.values()} == {"torch"}  # the floor is none
    assert [found[name]["best_rival_percent"] for name in found] == [150.0, 100.0, pytest.approx(66.7, abs=0.1), 6000.0]
    assert results.timed({"fastk": [1.0]}) == {"fastk": {"ms": results.percentiles([1.0]), "times_fastk": 1.0}}


def test_a_file_is_what_was_written(tmp_path):
    one = result(row("fastk", [1.0, 2.0]))
    assert results.load(write(tmp_path / "new" / "a.json", one)) == one


@pytest.mark.parametrize(
    ("text", "message"), [("{", "holds no JSON"), ("[]", "is no result"), ('{"rows": []}', "is no result")]
)
def test_what_is_no_result_says_so(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        results.load(tmp_path / "a.json")


def test_another_version_of_the_format_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result() | {"schema": 99}))
    with pytest.raises(FileFormatError, match="version 99"):
        results.load(tmp_path / "a.json")


STEADY = [1.0, 1.01, 1.02, 1.03, 1.04]


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([1.2, 1.21, 1.22, 1.23, 1.24], "slower"),
        ([0.8, 0.81, 0.82, 0.83, 0.84], "faster"),
        ([1.02, 1.03, 1.04, 1.05, 1.06], "same"),  # within the threshold
        ([0.9, 1.0, 1.2, 1.3, 1.4], "same"),  # the quartiles overlap
    ],
)
def test_verdicts(after, verdict):
    (change,) = compare.changes(result(row("fastk", STEADY)), result(row("fastk", after)), 0.05)
    assert change.verdict == verdict
    assert change.regression is (verdict == "slower")
    assert verdict in str(change)


def test_rows_that_fail_go_or_come():
    failed = {**row("fastk", STEADY), "failed": "wrong"}
    del failed["ms"]
    both = result(row("fastk", STEADY), row("fastk", STEADY, measure="forward+backward"))
    broken = compare.changes(both, result(failed), 0.05)
    assert [(c.verdict, c.regression, c.note) for c in broken] == [("broken", True, "wrong")] * 2
    assert {c.verdict for c in compare.changes(both, result(), 0.05)} == {"gone"}
    assert [c.verdict for c in compare.changes(result(failed), both, 0.05)] == ["mended", "new"]


def test_a_rival_that_became_slower_is_no_regression():
    (change,) = compare.changes(result(row("torch", STEADY)), result(row("torch", [2.0, 2.1, 2.2])), 0.05)
    assert change.verdict == "slower" and not change.regression


def test_unlike_machines():
    assert compare.unlike(ABOUT, ABOUT | {"date": "another"}) is None
    assert "threads is 1 in the one and 2" in (compare.unlike(ABOUT, ABOUT | {"threads": 2}) or "")


class Page(HTMLParser):
    """Reads a page: which tags are open at the end, which attributes name other files, its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "data", "action")]
        if tag not in ("meta", "line", "polyline", "rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def full():
    facts: dict[str, Any] = {
        "flops": 2000,
        "bytes": 100,
        "best_rival": "torch",
        "best_rival_percent": 150.0,
        "ran": "aten",
    }
    ours = row("fastk", STEADY, tflops=0.02, gbs=3.0, roofline_percent=40.0, times_fastk=1.0, **facts)
    slower: dict[str, Any] = facts | {"tflops": 0.01, "best_rival_percent": 100.0, "times_fastk": 1.47}
    rival = row("torch", [1.5] * 5, **slower)
    failed = {k: v for k, v in row("jax", [1.0]).items() if k != "ms"} | {"failed": "not <installed> & gone"}
    models = [
        row("fastk", STEADY, "fit", "model", "mlp", best_rival="torch", best_rival_percent=80.0, times_fastk=1.0),
        row("torch", [0.8] * 5, "fit", "model", "mlp", best_rival="torch", best_rival_percent=100.0, times_fastk=0.8),
    ]
    found = result(ours, rival, failed, *models)
    return found | {"rooflines": {"measured": {"copy_gbs": 10.0, "product_tflops": {"float32": 0.05}}}}


def test_the_page_stands_alone_and_shows_every_row():
    text = report.page([("a.json", full())])
    page = Page(text)
    assert (
        page.open == []
        and page.links == []
        and "<script" not in text
        and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    words = " ".join(page.words)
    for expected in ("a CPU", "dense 2x3 relu fp32, forward", "1.50×", "0.80×", "fastk (aten)", "Roofline, float32"):
        assert expected in words
    assert "not <installed> & gone" in words and "<installed>" not in text
    assert text.count("<circle") == 2 and text.count("<rect") == 2
    assert "prefers-color-scheme: dark" in text


def test_bars_point_to_the_faster_side():
    chart = svg.bars([svg.Bar("a", 2.0, "torch"), svg.Bar("b", 0.5, "torch")], "t")
    (fast,) = re.findall(r'class="faster" x="([\d.]+)" y="\d+" width="([\d.]+)"', chart)
    (slow,) = re.findall(r'class="slower" x="([\d.]+)" y="\d+" width="([\d.]+)"', chart)
    assert float(slow[0]) + float(slow[1]) == pytest.approx(float(fast[0]), abs=0.2)  # they meet at 1
    assert float(fast[1]) == pytest.approx(float(slow[1]), abs=0.2)  # twice and half as fast are as long


def test_points_lie_under_the_roof():
    chart = svg.roofline([svg.Point("a", 1.0, 0.01, True), svg.Point("b", 100.0, 0.05, False)], 10.0, 0.05, "t")
    (roof,) = re.findall(r'points="([^"]+)"', chart)
    corners = [tuple(map(float, corner.split(","))) for corner in roof.split()]
    circles = [tuple(map(float, c)) for c in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)]
    assert corners[1][1] == corners[2][1] == pytest.approx(circles[1][1], abs=0.2)  # b is on the flat part
    (x0, y0), (x1, y1), _ = corners
    slope = y0 + (y1 - y0) * (circles[0][0] - x0) / (x1 - x0)
    assert slope == pytest.approx(
        circles[0][1], abs=0.2
    )  # and a on the slope: 10 GB/s are 0.01 TFLOP/s at 1 FLOP a byte


def test_the_figure(tmp_path):
    pytest.importorskip("matplotlib")
    figures.speedups(full(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert figures.ratios(full()) == (["mlp"], {"torch": [0.8]})
    with pytest.raises(ConfigurationError, match="no model"):
        figures.speedups(result(row("fastk", STEADY)), tmp_path / "b.png")


def test_aims_are_compared_with_what_was_measured():
    def gpu(provider, ms, variant="8x8x8 relu", **others):
        return row(provider, [ms], variant=variant, dtype="bfloat16", **others)

    rows = [
        gpu("fastk", 2.0, roofline_percent=50.0),
        gpu("floor", 1.0),
        gpu("fastk", 1.0, variant="4x4x4 relu"),
        gpu("floor", 4.0, variant="4x4x4 relu"),
        gpu("fastk", 1.0, variant="4x4x4 gelu"),
        gpu("torch", 1.0, measure="forward+backward"),
    ]
    relu = Aim("d", "dense", "forward", 1.0, results.FLOOR, variant="relu")
    assert relu.measured(rows) == [0.5, 4.0]
    assert mean(relu.measured(rows)) == pytest.approx(2**0.5)
    assert Aim("d", "dense", "forward", 95, None, variant="8x8x8").measured(rows) == [50.0]
    assert Aim("d", "dense", "forward", 1, "torch.compile").measured(rows) == []
    assert mean([]) is None
    assert relu.text() == "≥ 1 × the bare product"


def test_each_aim_can_be_measured():
    from fastk.bench.models.worker.cases import CASES
    from fastk.bench.ops.cases import cases

    known = set(CASES) | {case.op for case in cases()}
    variants = {case.op: {word for c in cases() if c.op == case.op for word in c.variant.split()} for case in cases()}
    for aim in AIMS:
        assert aim.case in known, aim
        assert not aim.variant or aim.variant in variants[aim.case], aim
