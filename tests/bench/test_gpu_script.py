"""`bench/gpu.sh` without a GPU: its stages are other commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fastk
from fastk.bench import gpu
from fastk.bench.gpu import SHORTEST, Stage, State, command, go_on

ROOT = Path(__file__).resolve().parents[2]


def stage(name, outcomes, log, limit=100.0):
    """A stage that comes to the next outcome at each call, (status, more)."""

    def run(seconds, path):
        log.append((name, seconds))
        return outcomes.pop(0)

    return Stage(name, limit, run)


def read(folder):
    return {name: found["status"] for name, found in json.loads((folder / "state.json").read_text()).items()}


def test_a_call_goes_on_where_the_last_one_stopped(tmp_path):
    log = []
    a, b, c = [(0, False)], [(0, True), (0, False)], [(0, False)]
    stages = [stage("a", a, log), stage("b", b, log), stage("c", c, log)]
    assert not go_on(stages, tmp_path)
    assert read(tmp_path) == {"a": "done", "b": "unfinished", "c": "done"}
    assert go_on(stages, tmp_path)
    assert [name for name, _ in log] == ["a", "b", "c", "b"]
    assert read(tmp_path)["b"] == "done"


def test_what_fails_is_tried_once_more_and_keeps_none_from_running(tmp_path):
    log = []
    stages = [stage("tests", [(1, False), (1, False)], log), stage("ops", [(0, False)], log)]
    assert not go_on(stages, tmp_path)
    assert read(tmp_path) == {"tests": "failed", "ops": "done"}
    assert go_on(stages, tmp_path) and go_on(stages, tmp_path)
    assert [name for name, _ in log] == ["tests", "ops", "tests"]


def test_what_has_to_be_stopped_again_and_again_is_given_up(tmp_path):
    log = []
    stages = [stage("models", [(gpu.TIMED_OUT, True)] * 5, log)]
    assert not go_on(stages, tmp_path)
    assert go_on(stages, tmp_path)
    assert len(log) == gpu.TRIES and read(tmp_path) == {"models": "unfinished"}


def test_a_stage_gets_the_time_that_is_left(tmp_path):
    log = []
    assert go_on([stage("a", [(0, False)], log, limit=1000.0)], tmp_path, seconds=SHORTEST + 5)
    assert SHORTEST < log[0][1] <= SHORTEST + 5
    assert not go_on([stage("b", [(0, False)], log)], tmp_path, seconds=SHORTEST - 1)  # too little
    assert [name for name, _ in log] == ["a"]


def test_a_command_that_cannot_be_started_is_a_failure(tmp_path):
    def run(seconds, log):
        raise FileNotFoundError("no such program")

    assert not go_on([Stage("a", 100, run)], tmp_path)
    assert State.read(tmp_path / "state.json").stages["a"]["detail"] == "no such program"


def test_the_output_of_a_command_is_kept_whatever_comes_of_it(tmp_path):
    log = tmp_path / "a.log"
    assert command("-c", "print('{seconds}'); raise SystemExit(3)")(100.0, log) == (3, False)
    assert log.read_text() == f"{100 - gpu.RESERVE:.0f}\n"
    assert command("-c", "print('Out of time: 3 cases are left')", resumable=True)(100.0, log) == (0, True)


def test_a_command_is_stopped_at_its_limit(tmp_path):
    log = tmp_path / "a.log"
    assert command("-c", "import time; time.sleep(60)", resumable=True)(0.2, log) == (gpu.TIMED_OUT, True)


def test_what_a_command_started_is_stopped_with_it():
    inner = "print('begun', flush=True); import time; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    gpu._end(process)
    assert process.stdout.read() == b""  # ends when nobody holds the other end of the pipe
    process.stdout.close()


@pytest.mark.parametrize("tuning", [False, True])
def test_the_stages_are_commands_that_exist(tuning, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(gpu, "tunes", lambda: tuning)
    monkeypatch.setattr(gpu, "logged", lambda words, seconds, log: asked.append(words[1:]) or log.touch() or 0)
    work = gpu.stages(tmp_path, tmp_path / "shipped.json")
    assert go_on(work, tmp_path)
    assert [one.name for one in work][:3] == ["tests", "ops", "models"]
    assert sum(one.limit for one in work[:2]) <= gpu.SLICE
    names = ["tune-mlp", "tune-cnn", "tune-resnet", "tune-lstm", "ops-tuned"]
    assert [one.name for one in work if "tune" in one.name] == (names if tuning else [])
    from fastk import cli

    for words in asked:
        if words[1:3] == ["fastk", "bench"]:
            monkeypatch.setattr("fastk.bench.command.run", lambda options: 0)
            with pytest.raises(SystemExit) as stopped:
                cli.main([*words[2:], "--help"])  # parsed, and found well-formed up to the end
            assert stopped.value.code == 0


def test_the_models_that_are_tuned_for_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TUNED", ("mlp",))
    gpu.save_models(tmp_path / "models")
    model = fastk.saving.load_model(tmp_path / "models" / "mlp.keras")
    assert model.count_params() == 101_770 and model.optimizer is not None
    before = (tmp_path / "models" / "mlp.keras").stat().st_mtime_ns
    gpu.save_models(tmp_path / "models")
    assert (tmp_path / "models" / "mlp.keras").stat().st_mtime_ns == before


def test_without_a_gpu_it_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([str(tmp_path)]) == 2
    assert "fastk doctor" in capsys.readouterr().err
    monkeypatch.setattr(gpu, "checkout", lambda: None)
    assert gpu.main([str(tmp_path)]) == 2
    assert "checkout" in capsys.readouterr().err


def test_the_script_is_well_formed():
    assert subprocess.run(["bash", "-n", str(ROOT / "bench" / "gpu.sh")]).returncode == 0
