"""A hook of MkDocs: links of the documentation that leave `docs/` stay right, on the site as in the repository.

Pages link to files beside `docs/` as they lie in the repository, where its host follows the links. For the site
CONTRIBUTING and CHANGELOG become pages, the README is the home page, and every other file or folder that is linked to
gets a page with its text. A link to what does not exist is a warning, which the strict build does not let pass.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.plugins.links")

ROOT = Path(__file__).resolve().parents[2]
# Files outside of docs/ that are pages of the site, and folders that the reference is about.
FILES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FOLDERS = {"fastk": "reference/index.md", "fastk/autograd": "reference/autograd.md", "kernels": "reference/kernels.md"}
LINK = re.compile(r"(?P<code>^```.*?^```|`[^`\n]+`)|\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)", re.M | re.S)
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".md": "markdown", ".cu": "cuda", ".json": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of CONTRIBUTING and CHANGELOG, and one for each file or folder that a page links to."""
    for source, page in FILES.items():
        if page not in files.src_uris:
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    waiting = [file for file in files.documentation_pages() if (ROOT / source_of(file.src_uri)).exists()]
    while waiting:
        file = waiting.pop()
        for target in targets(file.content_string, source_of(file.src_uri)):
            page = page_of(target)
            if page.startswith("source/") and page not in files.src_uris and (ROOT / target).exists():
                made = File.generated(config, page, content=shown(target), inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(made)
                waiting += [made] if (ROOT / target).is_dir() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page into links to pages."""
    here = page.file.src_uri
    source = source_of(here)
    if here.startswith("source/") and not source.endswith("/"):
        return markdown  # the text of a file

    def to_page(target: str) -> str | None:
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which does not exist.", source, target)
            return None
        return posixpath.relpath(page_of(target), posixpath.dirname(here))

    return rewritten(markdown, source, to_page)


def source_of(page: str) -> str:
    """The path in the repository of what a page is made of."""
    generated = {made: source for source, made in FILES.items() if made != "index.md"}
    if page.startswith("source/"):
        return page.removeprefix("source/").removesuffix("index.md").removesuffix(".md")
    return generated.get(page, f"docs/{page}")


def page_of(source: str) -> str:
    """The page for a path in the repository."""
    known = FILES | FOLDERS
    if source in known:
        return known[source]
    if (ROOT / source).is_dir():
        return posixpath.join("source", source, "index.md")
    return f"source/{source}.md"


def rewritten(markdown: str, source: str, to_page: Callable[[str], str | None]) -> str:
    """The text with each link that leaves `docs/` as `to_page` has it; in code there are none."""

    def one(link: re.Match[str]) -> str:
        if link["code"]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
        inside = target == "docs" or target.startswith("docs/")
        if inside and source.startswith("docs/"):
            return link[0]  # MkDocs looks after these
        if inside:
            page = target.removeprefix("docs").removeprefix("/")
            page = posixpath.join(page, "README.md" if page else "index.md") if (ROOT / target).is_dir() else page
        else:
            page = to_page(target)
        return link[0] if page is None else f"]({page}{link['anchor'] or ''})"

    return LINK.sub(one, markdown)


def targets(markdown: str, source: str) -> list[str]:
    """The paths outside of `docs/` that a text links to."""
    found: list[str] = []
    rewritten(markdown, source, found.append)
    return found


def shown(source: str) -> str:
    """A page with the text of a file, or with what is in a folder. Neither is for the search."""
    head = f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# `{source}`\n\n"
    path = ROOT / source
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix == ".py" and file.name != "__init__.py")
        return head + "\n".join(f"- [{file.name}]({file.name}): {first_line(file)}" for file in files) + "\n"
    language = LANGUAGES.get(path.suffix, "text")
    return f"{head}````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"


def first_line(file: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
