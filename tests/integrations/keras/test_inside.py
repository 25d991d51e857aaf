"""Runs the tests in `inside/`, in processes of their own: Keras on torch is imported there."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

INSIDE = pathlib.Path(__file__).parent / "inside"
GROUPS = ("functions handle training", "models", "optimizers")  # files of a process: importing Keras takes seconds


def test_every_file_is_run():
    files = {path.stem for path in INSIDE.glob("*.py")} - {"conftest"}
    assert sorted(files) == sorted(" ".join(GROUPS).split())


@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.parametrize("group", GROUPS)
def test_inside_keras(group):
    environment = os.environ | {"INSIDE_KERAS": "1", "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
    files = [str(INSIDE / f"{name}.py") for name in group.split()]
    command = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, cwd=INSIDE.parents[3]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert "passed" in done.stdout and "skipped" not in done.stdout
