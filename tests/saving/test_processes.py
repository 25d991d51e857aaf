"""What needs a process of its own: being killed, and libraries that might crash."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def run(script, *arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, f"{script} ended with {result.returncode}:\n{result.stderr[-3000:]}"
    return int(result.stdout.split()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that is killed")
def test_a_save_that_is_killed_leaves_a_whole_file(tmp_path):
    interrupted = run("kill_saves.py", tmp_path, 20)
    assert interrupted > 0  # else nothing was tested


def test_damaged_weights_give_clear_errors(tmp_path):
    refused = run("mutate_weights.py", tmp_path, 300)
    assert refused > 100
