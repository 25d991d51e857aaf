"""Runs the tests in `inside/`, a process a file: Keras on torch is imported there."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
FILES = sorted(path.name for path in (HERE / "inside").glob("*.py") if path.name != "conftest.py")


@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.parametrize("file", FILES)
def test_inside_keras(file):
    environment = os.environ | {"INSIDE_KERAS": "1", "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(HERE / "inside" / file),
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, cwd=HERE.parents[2])
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert "passed" in done.stdout and "skipped" not in done.stdout
