"""What needs a process of its own: being killed, libraries that might crash, and memory that is limited."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def run(script, *arguments, timeout=300):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    assert result.returncode == 0, f"{script} ended with {result.returncode}:\n{result.stderr[-3000:]}"
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that is killed")
def test_a_save_that_is_killed_leaves_whole_files(tmp_path):
    interrupted = run("kill_saves.py", tmp_path, 20)
    assert interrupted > 0  # else nothing was tested


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that is killed")
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_saves_that_are_killed_leave_whole_files(tmp_path):
    assert run("kill_saves.py", tmp_path, 100, timeout=1100) > 30


def fuzzed(folder, times, seed=0, timeout=300):
    found = run("fuzz_files.py", folder, times, seed, timeout=timeout)
    assert sum(found["files"].values()) == times and len(found["refused"]) == len(found["files"])
    assert sum(found["refused"].values()) > times / 2  # most mutations do damage


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space as Linux does")
def test_damaged_and_hostile_files_give_clear_errors(tmp_path):
    fuzzed(tmp_path, 300)


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space as Linux does")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_and_hostile_files_give_clear_errors(tmp_path):
    fuzzed(tmp_path, 10_000, seed=1, timeout=3500)
