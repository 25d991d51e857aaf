"""`docs/benchmarks.md` is what its tool makes of the committed results, and nothing else."""

import re
import runpy
from pathlib import Path

import pytest

from fastk.bench import results

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {
    "device": "cpu", "name": "a CPU", "threads": 1, "versions": {"torch": "2"}, "commit": "abcdef0123456789",
    "date": "2026-01-02T00:00:00+0000",
}  # fmt: skip


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(ROOT / "tools" / "benchmarks_page.py"))


def test_page_is_up_to_date(tool):
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["render"](), "run: python tools/benchmarks_page.py"


def model(provider, ms, **others):
    found = {"kind": "model", "case": "mlp", "variant": "batch 32", "dtype": "float32", "measure": "fit"}
    return found | {"provider": provider, "ms": results.percentiles([ms])} | others


def test_without_results_no_cell_has_a_number(tool, tmp_path):
    page = tool["render"](tmp_path)
    for line in page.splitlines():
        if line.startswith("| ") and "×" not in line and "%" not in line and not line.startswith(("| model", "| what")):
            assert not re.search(r"\d", line.split("|", 2)[2]), line
    assert page.count("not measured") > 60


def test_what_was_measured_is_shown_and_the_newest(tool, tmp_path):
    best = {"best_rival": "torch", "best_rival_percent": 250.0}
    for date, ms in (("2026-01-03", 0.2), ("2026-01-01", 0.9)):
        rows = [model("fastk", ms, **best), model("torch", 0.5, **best)]
        results.save(tmp_path / "a-cpu" / f"{date}.json", ABOUT | {"date": f"{date}T00:00:00+0000"}, {}, rows)
    page = tool["render"](tmp_path)
    (line,) = [line for line in page.splitlines() if line.startswith("| mlp, batch 32")][:1]
    absent = "not measured"
    values = ["200", absent, absent, absent, absent, "500", absent, absent, "2.50 × (torch) |"]
    assert line.split(" | ") == ["| mlp, batch 32", *values]
    assert "a CPU, 1 threads, commit `abcdef012345`, 2026-01-03" in page and "900" not in page


def test_an_aim_says_whether_it_was_reached(tool, tmp_path):
    op = {"kind": "op", "case": "max_pool2d", "variant": "8x8", "dtype": "bfloat16", "measure": "forward+backward"}
    rows = [
        op | {"provider": "fastk", "ms": results.percentiles([1.0]), "roofline_percent": 95.0, "ran": "triton"},
        op | {"provider": "torch", "ms": results.percentiles([1.2])},
    ]
    results.save(tmp_path / "a-gpu" / "x.json", ABOUT | {"device": "cuda", "name": "a GPU"}, {}, rows)
    page = tool["render"](tmp_path)
    assert "| MaxPooling2D forward and backward | ≥ 1.6 × torch | 1.20 ×, not reached | 1 |" in page
    assert "| MaxPooling2D forward and backward | ≥ 92 % of the roofline | 95 %, reached | 1 |" in page
