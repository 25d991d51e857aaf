"""`docs/exchange.md` shows what the tests of saving exchange with Keras."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_page_is_up_to_date():
    tool = runpy.run_path(str(ROOT / "tools" / "exchange_page.py"))
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["render"](), "run: python tools/exchange_page.py"
