"""The README's examples do what they say."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def run(example):
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    return names


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    training, kernels = map(run, re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S))
    evaluate = training["model"].evaluate
    assert evaluate(training["x"], training["y"], verbose=0, return_dict=True)["accuracy"] > 0.9
    assert (tmp_path / "model.keras").exists()
    assert kernels["kernel"].grad.shape == (784, 128)
