"""`fastk bench` as a user types it."""

import json
import subprocess
import sys

import pytest

from fastk import cli
from fastk.bench import command, results
from fastk.bench.ops import cases, roofline


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch):
    """Measures the machine in no time, and one small case."""
    monkeypatch.setitem(roofline.SIDES, "cpu", 32)
    monkeypatch.setitem(roofline.BYTES, "cpu", 1 << 12)
    small = [case for case in cases.cases() if str(case) in ("softmax_cross_entropy 32x10", "sgd mlp, 4 tensors")]
    monkeypatch.setattr(command.ops, "cases", lambda: iter(small))


def bench(*arguments):
    return cli.main(["bench", "--device", "cpu", "--threads", "1", *arguments])


def test_ops_are_measured_shown_and_written(tmp_path, capsys):
    path = tmp_path / "folder" / "a.json"
    assert bench("--ops", "softmax_cross_entropy", "--providers", "fastk", "torch", "--json", str(path)) == 0
    printed = capsys.readouterr().out
    assert "softmax_cross_entropy 32x10 float32 (mlp)" in printed and "fastk (aten)" in printed and "sgd" not in printed
    found = results.load(path)
    assert {row["provider"] for row in found["rows"]} == {"fastk", "torch"}
    assert {"device", "cpu", "threads", "versions", "commit", "seed", "date", "cold", "load"} <= set(found["about"])
    assert found["about"]["threads"] == 1 and found["rooflines"]["measured"]["copy_gbs"] > 0


def test_a_run_is_resumed(tmp_path, capsys):
    path = str(tmp_path / "a.json")
    assert bench("--ops", "--providers", "fastk", "--json", path, "--seconds", "1e-9") == 0
    assert "Out of time: 2 cases are left" in capsys.readouterr().out
    assert bench("--ops", "sgd", "--providers", "fastk", "--json", path) == 0
    first = results.load(tmp_path / "a.json")["rows"]
    capsys.readouterr()
    assert bench("--ops", "--providers", "fastk", "--json", path, "--resume") == 0
    assert "sgd" not in capsys.readouterr().out
    rows = results.load(tmp_path / "a.json")["rows"]
    assert rows[: len(first)] == first and {row["case"] for row in rows} == {"sgd", "softmax_cross_entropy"}


def test_a_run_of_another_machine_is_not_resumed(tmp_path, capsys):
    path = tmp_path / "a.json"
    bench("--ops", "sgd", "--providers", "fastk", "--json", str(path))
    found = json.loads(path.read_text())
    found["about"]["name"] = "another CPU"
    path.write_text(json.dumps(found))
    assert bench("--ops", "--json", str(path), "--resume") == 2
    assert "cannot be continued: name is 'another CPU'" in capsys.readouterr().err


def test_models_are_measured(tmp_path, capsys, monkeypatch):
    asked = []

    def measure(name, options):
        asked.append((name, options.providers, options.rounds))
        return [{"kind": "model", "case": name, "variant": "batch 1", "dtype": "float32", "steps": 1,
                 "measure": "fit", "provider": "fastk", "failed": "a test"}]  # fmt: skip

    monkeypatch.setattr(command.models, "measure", measure)
    assert bench("--models", "mlp", "cnn", "--providers", "fastk", "keras-jax", "fastk-aten") == 0
    assert asked == [("mlp", ["fastk", "keras-jax"], 11), ("cnn", ["fastk", "keras-jax"], 11)]
    asked.clear()
    assert bench("--quick") == 0  # both kinds, the fewest of each
    assert [name for name, *_ in asked] == ["mlp", "cnn", "lstm"]
    assert asked[0][1:] == (["fastk", "torch"], 3)
    assert "a test" in capsys.readouterr().out
    asked.clear()
    assert bench("--providers", "keras-jax") == 0  # which has no ops
    assert len(asked) == 10 and "The machine" not in capsys.readouterr().out
    asked.clear()
    assert bench("--models") == 0
    assert "lstm_lm" in dict.fromkeys(name for name, *_ in asked) and "resnet50" not in [name for name, *_ in asked]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ops", "dens"], "No op is called dens. Did you mean `dense`?"),
        (["--models", "mpl"], "No model is called mpl."),
        (["--providers", "tensorflow"], "No provider is called tensorflow. Did you mean `keras-tensorflow`?"),
        (["--threads", "0"], "--threads must be from 1 to"),
        (["--ops", "--providers", "keras-jax"], "None of keras-jax is measured by --ops"),
        (["--models", "--providers", "floor"], "None of floor is measured by --models"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--resume"], "--resume continues the file of --json"),
        (["compare", "absent.json", "b.json"], "No such file"),
        (["report", "absent.json"], "No such file"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert bench("--ops", "sgd", "--providers", "fastk", "--json", str(tmp_path / "file" / "a.json")) == 2
    assert "fastk bench: [Errno" in capsys.readouterr().err


def test_it_can_be_stopped(monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.ops, "measure", stop)
    assert bench("--ops") == 130
    assert "stopped" in capsys.readouterr().err


def test_compare_and_report(tmp_path, capsys):
    path = tmp_path / "a.json"
    bench("--ops", "softmax_cross_entropy", "--providers", "fastk", "torch", "--json", str(path))
    slow = json.loads(path.read_text())
    for row in slow["rows"]:
        row["ms"] = {name: 2 * value for name, value in row["ms"].items()}
    (tmp_path / "b.json").write_text(json.dumps(slow))
    capsys.readouterr()
    assert cli.main(["bench", "compare", str(path), str(tmp_path / "b.json")]) in (0, 1)  # by its quartiles
    assert cli.main(["bench", "compare", str(path), str(path), "--all"]) == 0
    assert "4 same" in capsys.readouterr().out
    slow["about"]["threads"] = 7
    (tmp_path / "b.json").write_text(json.dumps(slow))
    assert cli.main(["bench", "compare", str(path), str(tmp_path / "b.json")]) == 2
    assert "pass --force" in capsys.readouterr().err
    assert cli.main(["bench", "compare", str(path), str(tmp_path / "b.json"), "--force", "--threshold", "300%"]) == 0
    assert cli.main(["bench", "report", str(path), "-o", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_a_regression_is_the_exit_status(tmp_path, capsys):
    path, worse = tmp_path / "a.json", tmp_path / "b.json"
    bench("--ops", "softmax_cross_entropy", "--providers", "fastk", "--json", str(path))
    found = json.loads(path.read_text())
    for row in found["rows"]:
        row["ms"] = {name: value * (1000 if name != "samples" else 1) for name, value in row["ms"].items()}
    worse.write_text(json.dumps(found))
    assert cli.main(["bench", "compare", str(path), str(worse)]) == 1
    assert "2 regressions" in capsys.readouterr().out
    assert cli.main(["bench", "compare", str(worse), str(path)]) == 0


def test_the_bare_folder_says_what_to_run():
    root = results.__file__.rsplit("/bench/", 1)[0].removesuffix("/fastk")
    done = subprocess.run([sys.executable, "-m", "bench"], cwd=root, capture_output=True, text=True)
    assert done.returncode != 0 and "run `fastk bench`" in done.stderr
