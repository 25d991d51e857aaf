"""`docs/environment.md` lists what `fastk.config` reads."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_page_is_up_to_date():
    tool = runpy.run_path(str(ROOT / "tools" / "environment_page.py"))
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["render"](), "run: python tools/environment_page.py"


def test_no_other_file_reads_the_environment():
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("fastk", "kernels", "autotune", "bench")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("os.environ", "os.getenv", "getenv("))
    }
    assert readers == {"fastk/config.py"}
