"""An extension of Griffe, which reads docstrings and signatures from source text, for what fastk writes its own way.

- Functions that other functions make (`fastk.ops`, applications, `get` of a registry), and names that are bound in
  one line with others, have no definition to be read: they are taken from the imported package.
- Docstrings have doctests amid their text, and lines of arguments for several parameters at once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import griffe
from public_names import PublicName, pages

DOCTEST = re.compile(r"(?m)^(?P<indent> *)>>> (?:.*\n?)(?:(?! *$).*\n?)*")
SHARED_LINE = re.compile(
    r"(?m)^(?P<indent> +)(?P<names>\*{0,2}\w+(?:(?:, \*{0,2}\w+)+| to \w+)): (?P<text>.*(?:\n(?P=indent) +.*)*)"
)


class Fastk(griffe.Extension):
    """Completes what was read of the package `fastk`."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Called once all source files were read."""
        if pkg.path != "fastk":
            return
        names = [name for page in pages() for name in page.names]
        for name in names:
            if name.path == name.home and final_path(pkg, name.path) is None:
                put(pkg, name, definition(pkg, name))
        for name in names:
            target = final_path(pkg, name.home)
            if target is not None and final_path(pkg, name.path) != target:
                put(pkg, name, griffe.Alias(name.name, target=target))
        for item in everything(pkg):
            if item.docstring is not None:
                item.docstring.value = rewritten(item.docstring.value, parameters_of(item))


def final_path(pkg: griffe.Module, path: str) -> str | None:
    """Where the class or function of that name is defined, if the source text tells, and documents it."""
    try:
        item = pkg[path.partition(".")[2]]
        item = item.final_target if isinstance(item, griffe.Alias) else item
    except (KeyError, griffe.AliasResolutionError):
        return None
    documented = item.kind in (griffe.Kind.CLASS, griffe.Kind.FUNCTION) and item.docstring is not None
    return item.path if documented else None


def put(pkg: griffe.Module, name: PublicName, item: griffe.Function | griffe.Alias) -> None:
    """Sets what a name means, but for a name that is a module's too, such as `fastk.initializers.constant`."""
    parent = pkg[name.package.partition(".")[2]] if "." in name.package else pkg
    if name.name in parent.modules:
        return
    parent.members.pop(name.name, None)  # which would be merged with the new one
    parent.set_member(name.name, item)
    if isinstance(item, griffe.Alias):
        item.resolve_target()  # after which the target knows this name too


def definition(pkg: griffe.Module, name: PublicName) -> griffe.Function | griffe.Alias:
    """What a name means: what the source text has elsewhere, or else what the function itself tells."""
    value = name.value
    path = f"{value.__module__}.{value.__qualname__}"
    if final_path(pkg, path) is not None:
        return griffe.Alias(name.name, target=path)
    signature = inspect.signature(value)
    parameters = [
        griffe.Parameter(
            parameter.name,
            annotation=annotation(parameter.annotation),
            kind=griffe.ParameterKind(parameter.kind.description),
            default=None if parameter.default is inspect.Parameter.empty else repr(parameter.default),
        )
        for parameter in signature.parameters.values()
    ]
    returns = annotation(signature.return_annotation)
    function = griffe.Function(name.name, parameters=griffe.Parameters(*parameters), returns=returns)
    function.docstring = griffe.Docstring(inspect.getdoc(value) or "", parent=function)
    return function


def annotation(value: Any) -> str | None:
    """A type as it was written."""
    if value is inspect.Signature.empty:
        return None
    return value if isinstance(value, str) else inspect.formatannotation(value)


def everything(item: griffe.Object) -> Iterator[griffe.Object]:
    """The object and all in it, without what is only imported there."""
    yield item
    for member in item.members.values():
        if not isinstance(member, griffe.Alias):
            yield from everything(member)


def parameters_of(item: griffe.Object) -> list[str]:
    """The names of a function's parameters, or of those of a class's `__init__`."""
    if isinstance(item, griffe.Function | griffe.Class):
        return [parameter.name for parameter in item.parameters]
    return []


def rewritten(docstring: str, parameters: list[str]) -> str:
    """The docstring as Markdown and Google's style have it."""
    docstring = inspect.cleandoc(docstring)
    docstring = SHARED_LINE.sub(lambda line: "\n".join(one_a_line(line, parameters)), docstring)
    return DOCTEST.sub(fenced, docstring)


def one_a_line(line: re.Match[str], parameters: list[str]) -> Iterator[str]:
    """`a, b: text` and `a to c: text` as an entry for each; of names that are no parameters Griffe is left to warn."""
    first, _, last = line["names"].partition(" to ")
    names = line["names"].split(", ")
    if first in parameters and last in parameters:
        names = parameters[parameters.index(first) : parameters.index(last) + 1]
    if not {name.lstrip("*") for name in names} <= set(parameters):
        names = [line["names"]]
    for name in names:
        yield f"{line['indent']}{name}: {line['text']}"


def fenced(doctest: re.Match[str]) -> str:
    """A doctest, up to the next empty line, as a block of code."""
    indent = doctest["indent"]
    return f"{indent}```pycon\n{doctest[0].rstrip()}\n{indent}```\n"
