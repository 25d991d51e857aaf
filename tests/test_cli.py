"""The command `fastk`."""

import json
import subprocess
import sys

import pytest

import fastk as keras
from fastk import cli, layers


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
        (["explain", "absent.keras"], "File not found"),
        (["explain", "x", "--batch", "0"], "a positive number of samples"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "fastk", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: fastk")
