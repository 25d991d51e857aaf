"""The command `fastk`."""

import json
import os
import subprocess
import sys

import pytest

import fastk as keras
from fastk import cli, config, layers


@pytest.fixture
def saved(tmp_path):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, name="hidden"), layers.ReLU(name="act")], name="net")
    model.save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def test_explain(saved, capsys):
    assert cli.main(["explain", saved, "--batch", "128", "--graph"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("net: a training step (forward, backward) of 128 samples on cpu")
    assert "hidden + act" in printed and "%1 = dense(%0" in printed


def test_explain_as_json(saved, capsys):
    assert cli.main(["explain", saved, "--inference", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["training"] is False and found["ops"][0]["layers"] == ["hidden", "act"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command"),
        (["explain"], "model"),
        (["explain", "x", "--batch", "0"], "a positive whole number. Received: '0'"),
        (["explain", "x", "--batch", "many"], "a positive whole number. Received: 'many'"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "tune"])
def test_a_model_that_cannot_be_loaded_is_a_line(command, tmp_path, capsys):
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    for path, words in ((tmp_path / "absent.keras", "File not found"), (tmp_path / "broken.keras", "broken.keras")):
        assert cli.main([command, str(path)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith(f"fastk {command}: ") and words in printed.err


def test_what_is_no_model_is_a_line(tmp_path, capsys):
    assert cli.main(["explain", str(tmp_path / "train.py")]) == 2
    assert "fastk explain: File format not supported" in capsys.readouterr().err


def test_a_model_of_classes_of_the_users(tmp_path, capsys):
    class Doubling(layers.Layer):
        def call(self, x):
            return x * 2

    keras.Sequential([layers.Input((4,)), Doubling()]).save(tmp_path / "model.keras")
    assert cli.main(["explain", str(tmp_path / "model.keras")]) == 2
    printed = capsys.readouterr().err
    assert "class 'Doubling'" in printed and "load the model where the others are" in printed


def test_kernels_that_cannot_run_are_a_line(saved, capsys, monkeypatch):
    monkeypatch.setattr(config._settings, "kernels", "cupy")
    assert cli.main(["explain", saved]) == 2
    assert "fastk explain: The 'cupy' implementation of dense was asked for by name" in capsys.readouterr().err


def test_slots_of_the_optimizer_do_not_matter_to_an_explanation(tmp_path, capsys, recwarn):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")  # before its first step
    assert cli.main(["explain", str(tmp_path / "model.keras")]) == 0
    assert not [warning for warning in recwarn if "Skipping variable loading" in str(warning.message)]


def test_a_reader_that_has_seen_enough(saved, monkeypatch):
    """As with `| head`: no traceback, neither of the command nor of the last flush."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["explain", saved]) == 1
        print("more")


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "fastk", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: fastk")
