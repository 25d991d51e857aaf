"""Runs the Python of documentation pages, and compares what it prints with what the page shows.

    python tools/docs/blocks.py                     # every page
    python tools/docs/blocks.py docs/index.md       # one
    python tools/docs/blocks.py --write PAGE        # and puts what is printed into the page

The blocks ```python of a page are one program, run in a folder of its own. A block ```text after one is what it prints,
"..." standing for anything. A block ```py is a piece of a program that cannot be run by itself; it has to be Python.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import doctest
import io
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.M | re.S)
PIECE = re.compile(r"^```py\n(?P<code>.*?)^```\n", re.M | re.S)
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def pages() -> list[Path]:
    """Every page of `docs/`."""
    return sorted((ROOT / "docs").rglob("*.md"))


def printed(page: Path) -> Iterator[tuple[re.Match[str], str]]:
    """Each block of a page that is run, with what it printed."""
    text = page.read_text(encoding="utf-8")
    names = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code"))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("\n" * line + block["code"], str(page), "exec"), names)
        yield block, out.getvalue()


def differences(page: Path) -> list[str]:
    """A sentence for each block that prints something else than the page shows.

    Raises:
        SyntaxError: a piece is not Python.
    """
    for piece in PIECE.finditer(page.read_text(encoding="utf-8")):
        ast.parse(f"def piece():\n{textwrap.indent(piece['code'], '    ')}")  # `return` may stand alone
    return [
        f"{page}: the block\n\n{block['code']}\nprints\n\n{out}\nand the page has\n\n{block['shown'] or 'nothing'}"
        for block, out in printed(page)
        if not agrees(out, block["shown"])
    ]


def agrees(out: str, shown: str | None) -> bool:
    """Whether the page shows what was printed. What nobody is shown need not be."""
    return shown is None or doctest.OutputChecker().check_output(shown, out, LENIENT)


def write(page: Path) -> None:
    """Puts what the blocks print into the page, where it does not agree."""
    text = page.read_text(encoding="utf-8")
    for block, out in reversed(list(printed(page))):
        if not agrees(out, block["shown"]):
            lines = "".join(f"{line.rstrip()}\n" for line in out.splitlines())
            text = text[: block.start("shown")] + lines + text[block.end("shown") :]
    page.write_text(text, encoding="utf-8")


def forget() -> None:
    """Names of layers are counted up anew for the next page, and `import keras` is what it was."""
    import fastk
    from fastk.as_keras import uninstall_as_keras

    fastk.utils.clear_session()
    uninstall_as_keras()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=pages())
    parser.add_argument("--write", action="store_true", help="put what is printed into the page")
    options = parser.parse_args()
    wrong = []
    for page in [path.resolve() for path in options.pages]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            if options.write:
                write(page)
            else:
                wrong += differences(page)
        if BLOCK.search(page.read_text(encoding="utf-8")):
            forget()
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    os.environ.setdefault("FASTK_DEVICE", "cpu")  # which the pages show
    os.environ.setdefault("KERAS_BACKEND", "torch")  # of pages about Keras itself
    sys.path.insert(0, str(ROOT))
    main()
