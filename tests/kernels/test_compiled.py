"""Every quick case of every op compiled, without a GPU: the gates, and the resources of an earlier commit.

The kernels of the test process are interpreted, so the compiler runs in one of its own.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / f"resources-triton-{triton.__version__}.json"
UPDATE = "python -m fastk.kernels report --quick --update-golden tests/kernels/golden"

pytestmark = pytest.mark.timeout(900)  # with cold caches; seconds with warm ones


def run_report(path, *arguments):
    """The rows of `python -m fastk.kernels report` by their names; its exit status must tell of problems."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "fastk.kernels", "report", "--json", str(path), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode in (0, 1), done.stdout + done.stderr
    rows = rows_in(path)
    assert done.returncode == any(row["problems"] for row in rows.values())
    return rows


def rows_in(path):
    return {row["name"]: row for row in json.loads(path.read_text())["rows"]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The rows of the quick cases; the test processes take turns, and those after the first find the file there."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "compiled.json"
    with open(folder / "compiled.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return rows_in(path) if path.exists() else run_report(path, "--quick")


def test_every_quick_case_passes_every_gate(rows):
    assert not {name: row["problems"] for name, row in rows.items() if row["problems"]}


def test_resources_are_those_of_an_earlier_commit(rows):
    if not GOLDEN.exists():
        pytest.skip(f"no resources were recorded for Triton {triton.__version__}: {UPDATE}")
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == rows.keys(), f"cases came or went: {UPDATE}"
    for name, row in rows.items():
        before, now = golden[name], row["code"]
        assert now["spill_bytes"] == before["spill_bytes"], name
        assert abs(now["registers"] - before["registers"]) <= 0.1 * before["registers"], f"{name}: {UPDATE}"


def test_faulty_kernels_fail_exactly_the_gates_that_they_name(tmp_path):
    rows = run_report(tmp_path / "faulty.json", "--cases", str(HERE / "faulty_kernels.py"))
    assert {name: set(row["problems"]) for name, row in rows.items()} == {
        name: set(row["variant"].split()) for name, row in rows.items()
    }
    sentences = {gate: text for row in rows.values() for gate, text in row["problems"].items()}
    assert "div_s64" in sentences["no_calls"]
    assert "serialized" in sentences["no_warnings"]
    assert "faulty_kernels.py:" in sentences["wide_stores"] and "8 of 16 bits" in sentences["wide_stores"]
    assert "never scale" in sentences["compiles"]
