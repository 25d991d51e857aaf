"""A hook of MkDocs: the pages of the reference, made while the site is built, and their place in the navigation."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "docs")]  # this checkout's fastk, also for the extension of Griffe

from public_names import Page, PublicName, members_of, pages, unlisted  # noqa: E402

log = logging.getLogger("mkdocs.plugins.reference")

FOLDER = "reference"
CONTRACTS = "kernels.md"
ABOUT = """\
Every public name, from its docstring. `import fastk as keras`, and `fastk.layers.Dense` is `keras.layers.Dense`. Names
that mean the same lead to one description."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages where `mkdocs.yml` has an entry for the folder."""
    config.nav = [with_pages(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for package in unlisted():
        log.warning("%s has public names and no page: give it one in PAGES of tools/docs/public_names.py.", package)
    made = {page.file: described(page) for page in pages()}
    made |= {"index.md": contents(), CONTRACTS: contracts()}
    for file, lines in made.items():
        files.append(File.generated(config, f"{FOLDER}/{file}", content="\n".join(lines)))
    return files


def with_pages(entry: Any) -> Any:
    """The entry, or in place of one for the folder one for its pages."""
    if isinstance(entry, dict) and list(entry.values()) == [f"{FOLDER}/"]:
        (title,) = entry
        return {title: navigation()}
    return entry


def navigation() -> list[Any]:
    """The titles and files of all pages."""
    entries: list[Any] = [f"{FOLDER}/index.md"]
    for page in pages():
        folder, _, file = page.file.rpartition("/")
        path = f"{FOLDER}/{page.file}"
        if not folder:
            entries.append({page.title: path})
        elif file == "index.md":
            entries.append({page.title: [path]})
        else:
            (inner,) = entries[-1].values()
            inner.append({page.title: path})
    return [*entries, {"Contracts of kernels": f"{FOLDER}/{CONTRACTS}"}]


def contents() -> list[str]:
    """The page that lists the others."""
    lines = ["# Reference", "", ABOUT, "", "| | packages | names |", "|---|---|---|"]
    for page in pages():
        inside = "" if "/" not in page.file or page.file.endswith("/index.md") else "– "
        shown = page.packages if len(page.packages) < 5 else [page.packages[0], "and those beside it"]
        packages = ", ".join(f"`{name}`" if name.startswith("fastk") else name for name in shown)
        lines.append(f"| {inside}[{page.title}]({page.file}) | {packages} | {len(page.names)} |")
    return [*lines, f"| [Contracts of kernels]({CONTRACTS}) | `fastk.kernels` | |"]


def described(page: Page) -> list[str]:
    """A page: what its package is for, a table of all names, and those that are described here."""
    about = (inspect.getdoc(importlib.import_module(page.packages[0])) or "").split("\n\n")[0]
    lines = [f"# {page.title}", "", about, "", "| name | in short |", "|---|---|", *map(row, page.names), ""]
    for name in page.described:
        lines += [f"::: {name.path}", *options(name), ""]
    return lines


def row(name: PublicName) -> str:
    """A line of the table."""
    return f"| [`{name.path.removeprefix('fastk.')}`][{name.home}] | {name.summary.replace('|', '&#124;')} |"


def options(name: PublicName) -> list[str]:
    """Which members are described with a class."""
    if not inspect.isclass(name.value):
        return []
    own, inherited = members_of(name.value)
    lines = ["    options:", f"        members: {json.dumps(own + inherited)}"]
    return [*lines, f"        inherited_members: {json.dumps(inherited)}"] if inherited else lines


def contracts() -> list[str]:
    """The page of what each operation's implementations agree on."""
    lines = ["# Contracts of kernels", "", "What every implementation of an operation computes, takes and keeps.", ""]
    for folder in sorted((ROOT / "kernels").iterdir()):
        if (folder / "aten.py").exists():
            module = importlib.import_module(f"fastk.kernels.{folder.name}")
            more = f"[{folder.name}](../ops/{folder.name}.md) has the derivation."
            page = ROOT / "docs" / "ops" / f"{folder.name}.md"
            lines += [f"## {folder.name}", "", "```text", inspect.getdoc(module) or "", "```", ""]
            lines += [more, ""] if page.exists() else []
    return lines
