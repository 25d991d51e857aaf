"""A hook of MkDocs: the pages of the reference, made while the site is built, and their place in the navigation."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "docs")]  # this checkout's fastk, also for the extension of Griffe

from public_names import Page, PublicName, members_of, pages  # noqa: E402

FOLDER = "reference"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages where `mkdocs.yml` has an entry for the folder."""
    config.nav = [with_pages(entry) for entry in config.nav or []]
    return config


def with_pages(entry: Any) -> Any:
    if isinstance(entry, dict) and list(entry.values()) == [f"{FOLDER}/"]:
        (title,) = entry
        return {title: navigation()}
    return entry


def navigation() -> list[Any]:
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
    return entries


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page in pages():
        files.append(File.generated(config, f"{FOLDER}/{page.file}", content="\n".join(markdown(page))))
    files.append(File.generated(config, f"{FOLDER}/index.md", content="\n".join(contents())))
    return files


def contents() -> list[str]:
    """The page that lists the others."""
    lines = [
        "# Reference",
        "",
        "Every public name, from its docstring. `import fastk as keras`, and `fastk.layers.Dense` is `keras.layers.Dense`.",
        "Names that mean the same lead to one description.",
        "",
        "| | packages | names |",
        "|---|---|---|",
    ]
    for page in pages():
        indent = "" if "/" not in page.file or page.file.endswith("/index.md") else "– "
        shown = page.packages if len(page.packages) < 5 else [f"{page.packages[0]}", "and those inside"]
        packages = ", ".join(f"`{name}`" if name.startswith("fastk") else name for name in shown)
        lines.append(f"| {indent}[{page.title}]({page.file}) | {packages} | {len(page.names)} |")
    return lines


def markdown(page: Page) -> list[str]:
    lines = [f"# {page.title}", ""]
    lines += ["| name | in short |", "|---|---|", *(row(name) for name in page.names), ""]
    for name in page.described:
        lines += [f"::: {name.path}", *options(name), ""]
    return lines


def options(name: PublicName) -> list[str]:
    if not inspect.isclass(name.value):
        return []
    own, inherited = members_of(name.value)
    lines = ["    options:", f"        members: {json.dumps(own)}"]
    return [*lines, f"        inherited_members: {json.dumps(inherited)}"] if inherited else lines


def row(name: PublicName) -> str:
    return f"| [`{name.path.removeprefix('fastk.')}`][{name.home}] | {name.summary.replace('|', '&#124;')} |"
