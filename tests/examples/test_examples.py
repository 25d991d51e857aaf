"""The programs in `examples/` run, and learn what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "digits.py")  # `make train` runs it


def run(name, *options, folder):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


def test_all_are_here():
    assert len(PROGRAMS) >= 12


@pytest.mark.parametrize("name", PROGRAMS)
def test_runs(name, tmp_path):
    assert run(name, "--quick", folder=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_learns_on_two_processes(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(EXAMPLES / "data_parallel.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROGRAMS)
def test_learns(name, tmp_path):
    run(name, folder=tmp_path)  # each ends with an error where it learns less than it says
