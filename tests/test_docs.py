"""The documentation: what its pages run prints what they show, and the site is built without a warning."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools" / "docs"
FROM_ELSEWHERE = re.compile(r"""(?:<(?:script|img|iframe)\b[^>]*\bsrc|<link\b[^>]*\bhref)=["']?(?:https?:)?//""")

LIST_NAMES = """
import sys
sys.path.insert(0, sys.argv[1])
from public_names import all_paths, pages
assert all(name.summary for page in pages() for name in page.described), "a public name without a docstring"
print(*all_paths())
"""


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import blocks

    return blocks


@pytest.fixture
def page(tmp_path):
    return tmp_path / "page.md"


def run(*command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FASTK_DEVICE": "cpu", **environment}
    environment.pop("TRITON_INTERPRET", None)  # of the tests: a user's kernels run on GPUs
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_pages_print_what_they_show():  # in a process of its own, in which Keras was not imported
    code, output = run(TOOLS / "blocks.py")
    assert code == 0, output


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\nprint(1)\n```\n\n```text\n1\n```\n", 0),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", 1),
        ("```python\nx = 1\n```\n\n```python\nprint('a', x, 'b')\n```\n\n```text\na ... b\n```\n", 0),
        ("```python\nprint(1)\n```\n\nA sentence.\n\n```text\n2\n```\n", 0),
        ("```py\nreturn anything\n```\n", 0),
    ],
)
def test_a_difference_is_found(blocks, page, text, found):
    page.write_text(text, encoding="utf-8")
    assert len(blocks.differences(page)) == found


def test_a_piece_that_is_not_python_is_found(blocks, page):
    page.write_text("```py\nreturn )\n```\n", encoding="utf-8")
    with pytest.raises(SyntaxError):
        blocks.differences(page)


def test_what_is_printed_is_written_into_a_page(blocks, page):
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n\nThe end.\n", encoding="utf-8")
    blocks.write(page)
    assert page.read_text(encoding="utf-8") == "```python\nprint(1)\n```\n\n```text\n1\n```\n\nThe end.\n"


@pytest.mark.timeout(600)  # 25 s of a quiet core; in the test command others work beside it
def test_the_site_is_built_without_a_warning(tmp_path):
    site = tmp_path / "site"
    code, output = run("-m", "mkdocs", "build", "--strict", "--site-dir", site, NO_MKDOCS_2_WARNING="1")
    assert code == 0, output  # a page outside of the navigation, a broken link, a wrong docstring
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert [path for path, text in pages.items() if FROM_ELSEWHERE.search(text)] == []  # nothing from a network
    assert missing_from(site) == set()
    reference = pages[site / "reference" / "layers" / "core.html"]
    dense = reference[reference.index('id="fastk.layers.Dense"') : reference.index('id="fastk.layers.EinsumDense"')]
    assert "units" in dense and "over the last axis" in dense and "enable_lora" in dense
    assert 'href="source/examples/index.html"' in pages[site / "index.html"]
    assert "def fuse" in re.sub("<[^>]*>", "", pages[site / "source" / "fastk" / "graph" / "fuse.py.html"])


def missing_from(site):
    """The public names that nothing on the site describes."""
    code, output = run("-c", LIST_NAMES, TOOLS)
    names = output.split()
    assert code == 0 and len(names) > 1400, output
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    return set(names) - {line.split(" ")[0] for line in inventory.splitlines()}


@pytest.fixture
def links(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import links

    return links


def test_links_that_leave_the_docs_become_links_to_pages(links):
    text = "[a](../CHANGELOG.md#added) [b](../fastk/graph/fuse.py) [c](../tests) [d](cupy.md) `[e](../x)` [f](http:a)"
    assert links.rewritten(text, "docs/page.md", links.page_of) == (
        "[a](changelog.md#added) [b](source/fastk/graph/fuse.py.md) [c](source/tests/index.md) [d](cupy.md) "
        "`[e](../x)` [f](http:a)"
    )
    assert links.rewritten("[a](../../kernels)", "docs/ops/dense.md", links.page_of) == "[a](reference/kernels.md)"
    assert links.rewritten("[a](docs/ops) [b](docs/cupy.md)", "CHANGELOG.md", links.page_of) == (
        "[a](ops/README.md) [b](cupy.md)"
    )


def test_links_lead_somewhere_in_the_repository_too(links):
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {link['target']}"
        for page in pages
        for link in links.LINK.finditer(page.read_text(encoding="utf-8"))
        if link["target"] and not (page.parent / link["target"]).exists()
    ]
    assert len(pages) > 30 and broken == []


def test_a_link_to_nothing_is_a_warning(links, caplog):
    class Made:
        class file:  # noqa: N801
            src_uri = "page.md"

    assert links.on_page_markdown("[a](../nothing.py)", Made, None, None) == "[a](../nothing.py)"
    assert "docs/page.md links to nothing.py, which does not exist" in caplog.text


@pytest.fixture
def griffe_fastk(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import griffe_fastk

    return griffe_fastk


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "    a, b: sizes,\n        of two axes.",
            "    a: sizes,\n        of two axes.\n    b: sizes,\n        of two axes.",
        ),
        (
            "    a to c: as of `X`.\n    d: other.",
            "    a: as of `X`.\n    b: as of `X`.\n    c: as of `X`.\n    d: other.",
        ),
        ("    a, wrong: sizes.", "    a, wrong: sizes."),  # Griffe warns of it
        ("    a to wrong: sizes.", "    a to wrong: sizes."),
        ("    *args, **kwargs: more.", "    *args: more.\n    **kwargs: more."),
    ],
)
def test_a_line_for_several_parameters_is_one_for_each(griffe_fastk, written, read):
    parameters = ["a", "b", "c", "d", "args", "kwargs"]
    head = "Does it.\n\nArgs:\n"
    assert griffe_fastk.rewritten(head + written, parameters) == head + read


def test_a_doctest_is_a_block_of_code(griffe_fastk):
    docstring = "One line.\n\n>>> f(\n...     1)\n2\n\nMore."
    assert griffe_fastk.rewritten(docstring, []) == "One line.\n\n```pycon\n>>> f(\n...     1)\n2\n```\n\nMore."


def test_a_public_package_without_a_page_is_found(griffe_fastk, monkeypatch):
    import public_names

    assert public_names.unlisted() == []
    monkeypatch.setattr(public_names, "PAGES", [page for page in public_names.PAGES if page[0] != "losses"])
    assert public_names.unlisted() == ["fastk.losses"]
