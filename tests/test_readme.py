"""The README's example does what it says."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    assert names["model"].evaluate(names["x"], names["y"], verbose=0, return_dict=True)["accuracy"] > 0.9
    assert (tmp_path / "model.keras").exists()
