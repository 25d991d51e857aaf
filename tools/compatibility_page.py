"""Writes `docs/compatibility.md`: which public names of Keras fastk has, compared with the Keras that is installed.

python tools/compatibility_page.py            # writes the page
python tools/compatibility_page.py --check    # exit status 1 where the page is not current

Every package under `keras` whose name does not start with `keras.src` is public, and so are the names in it. Of a
function the parameters are compared: their names, their order and their defaults. Of a class the same for `__init__`
and every public method; attributes and properties have to be there.
"""

# ruff: noqa: E402 - what comes before the imports says what Keras imports itself

from __future__ import annotations

import inspect
import os
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_HOME"] = tempfile.gettempdir()
sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds

import keras

del sys.modules["tensorflow"], sys.modules["jax"]

import fastk

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
PARAMETER = inspect.Parameter

@dataclass
class Finding:
    """What the comparison of one name found: nothing, or sentences about what is missing in it."""

    path: str
    missing: bool = False
    differences: list[str] = field(default_factory=list)


def public_packages(package: types.ModuleType = keras, path: str = "keras") -> Iterator[tuple[str, types.ModuleType]]:
    """(name, package) of every public package of Keras, from the outermost."""
    yield path, package
    for name, value in sorted(vars(package).items()):
        if isinstance(value, types.ModuleType) and value.__name__ == f"{path}.{name}" and not name.startswith("_"):
            if not value.__name__.startswith("keras.src"):
                yield from public_packages(value, value.__name__)


def public_names(package: types.ModuleType) -> dict[str, object]:
    return {
        name: value
        for name, value in sorted(vars(package).items())
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def resolve(path: str) -> object:
    """fastk's object of a public path of Keras; None where it has none."""
    found: object = fastk
    for part in path.split(".")[1:]:
        try:
            found = getattr(found, part)
        except AttributeError:
            return None
    return found


def compare(path: str, theirs: object, ours: object) -> Finding:
    finding = Finding(path, missing=ours is None)
    if ours is None:
        return finding
    if inspect.isclass(theirs):
        finding.differences += compare_classes(theirs, ours)
    elif callable(theirs):
        finding.differences += compare_parameters(theirs, ours)
    return finding


def compare_classes(theirs: type, ours: object) -> list[str]:
    found = compare_parameters(theirs.__init__, getattr(ours, "__init__", ours), "__init__")
    for name, value in sorted(inspect.getmembers_static(theirs)):
        if name.startswith("_") or defined_by(theirs, name) in FOREIGN:
            continue
        if not hasattr(ours, name):
            found.append(f"no `{name}`")
        elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
            found += compare_parameters(getattr(theirs, name), getattr(ours, name), name)
    return found


def defined_by(cls: type, name: str) -> str:
    return next((base.__module__.split(".")[0] for base in cls.__mro__ if name in vars(base)), "")


FOREIGN = ("torch", "builtins")


def parameters(function: object) -> list[inspect.Parameter]:
    try:
        return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []


def compare_parameters(theirs: object, ours: object, name: str = "") -> list[str]:
    """What of their parameters ours lacks, takes in another place or with another default."""
    wanted, given = parameters(theirs), parameters(ours)
    by_name = {p.name: p for p in given}
    prefix = f"`{name}`: " if name else ""
    open_positions = any(p.kind is PARAMETER.VAR_POSITIONAL for p in given)
    open_names = any(p.kind is PARAMETER.VAR_KEYWORD for p in given)
    positions = [p.name for p in given if p.kind in (PARAMETER.POSITIONAL_ONLY, PARAMETER.POSITIONAL_OR_KEYWORD)]
    found = []
    place = 0
    for p in wanted:
        if p.kind is PARAMETER.VAR_POSITIONAL:
            if not open_positions:
                found.append(f"{prefix}no `*{p.name}`")
        elif p.kind is PARAMETER.VAR_KEYWORD:
            continue
        elif p.name not in by_name:
            if not (open_names or (open_positions and p.kind is not PARAMETER.KEYWORD_ONLY)):
                found.append(f"{prefix}no `{p.name}`")
        else:
            if p.kind is PARAMETER.POSITIONAL_OR_KEYWORD and positions[place : place + 1] != [p.name] and not open_positions:
                found.append(f"{prefix}`{p.name}` is in another place")
            if not same_default(p.default, by_name[p.name].default):
                found.append(f"{prefix}`{p.name}` is {show(by_name[p.name].default)} by default, not {show(p.default)}")
        place += p.kind is PARAMETER.POSITIONAL_OR_KEYWORD
    needed = [
        p.name
        for p in given
        if p.default is PARAMETER.empty
        and p.kind not in (PARAMETER.VAR_POSITIONAL, PARAMETER.VAR_KEYWORD)
        and p.name not in {w.name for w in wanted}
    ]
    if needed and not any(w.kind in (PARAMETER.VAR_POSITIONAL, PARAMETER.VAR_KEYWORD) for w in wanted):
        found += [f"{prefix}needs `{n}` too" for n in needed]
    return found


def same_default(theirs: object, ours: object) -> bool:
    return show(theirs) == show(ours)


def show(value: object) -> str:
    return "required" if value is PARAMETER.empty else repr(value)


def findings() -> dict[str, list[Finding]]:
    found = {}
    for path, package in public_packages():
        found[path] = [compare(f"{path}.{n}", v, resolve(f"{path}.{n}")) for n, v in public_names(package).items()]
    return found


if __name__ == "__main__":
    for path, rows in findings().items():
        counts = Counter("missing" if f.missing else "partly" if f.differences else "yes" for f in rows)
        print(path, dict(counts))
        for f in rows:
            if f.missing:
                print("    -", f.path)
            elif f.differences:
                print("    ~", f.path, "; ".join(f.differences))
