"""The examples of docs/in_pytorch.md run, one after another, and print what the page shows."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "in_pytorch.md"


def test_examples_run(capsys):
    names: dict = {}
    text = PAGE.read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(example, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.S)
    assert printed.startswith(shown)
    assert "1 []" in printed and "[(128, 10), (10,)]" in printed
