"""Writes `docs/environment.md` from `fastk.config.ENVIRONMENT`.

python tools/environment_page.py
"""

from pathlib import Path

from fastk.config import ENVIRONMENT

PAGE = Path(__file__).resolve().parents[1] / "docs" / "environment.md"
HEAD = """\
# Environment variables

fastk reads these once, in `fastk/config.py`; a value that a variable cannot take raises `ConfigurationError`.
The table is written by `tools/environment_page.py`.

| variable | default | meaning |
|---|---|---|
"""


def render() -> str:
    """The whole page."""
    rows = [f"| `{name}` | `{variable.default}` | {variable.meaning} |\n" for name, variable in ENVIRONMENT.items()]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
