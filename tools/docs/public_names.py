"""The public names of fastk, each with the page of the reference that describes it.

What is public is read from the packages themselves, once they are imported: `__all__`, or else what a package
defines. Many functions are made by others (`keras.ops`, applications, `get` of a registry), which no reader of
source text can know.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from collections import Counter
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fastk.as_keras import PACKAGES

# (page, its title, its packages; `.*`: all public packages in it). An object is described on the first of these pages
# that has it, under the name that it was defined with; other pages and other names link to it.
PAGES = (
    ("models", "Models", ("fastk.models",)),
    ("layers", "Layers", ("fastk.layers",)),
    ("activations", "Activations", ("fastk.activations",)),
    ("losses", "Losses", ("fastk.losses",)),
    ("metrics", "Metrics", ("fastk.metrics",)),
    ("optimizers", "Optimizers", ("fastk.optimizers", "fastk.optimizers.*")),
    ("callbacks", "Callbacks", ("fastk.callbacks",)),
    ("initializers", "Initializers", ("fastk.initializers",)),
    ("regularizers", "Regularizers", ("fastk.regularizers",)),
    ("constraints", "Constraints", ("fastk.constraints",)),
    ("ops", "Operations", ("fastk.ops", "fastk.ops.*")),
    ("random", "Random numbers", ("fastk.random",)),
    ("distribution", "Many devices", ("fastk.distribution",)),
    ("saving", "Saving", ("fastk.saving", "fastk.legacy.saving", "fastk.export")),
    ("datasets", "Datasets", ("fastk.datasets.*",)),
    ("preprocessing", "Preprocessing", ("fastk.preprocessing", "fastk.preprocessing.*")),
    ("applications", "Applications", ("fastk.applications", "fastk.applications.*")),
    ("precision", "Precision", ("fastk.dtype_policies", "fastk.mixed_precision", "fastk.quantized_dtype_policies")),
    ("quantizers", "Quantizers", ("fastk.quantizers",)),
    ("utils", "Utilities", ("fastk.utils", "fastk.utils.*")),
    ("tree", "Nested structures", ("fastk.tree",)),
    ("wrappers", "scikit-learn", ("fastk.wrappers",)),
    ("config", "Configuration", ("fastk.config", "fastk.backend")),
    ("fastk", "The package itself", ("fastk",)),
    ("autograd", "Core operations", ("fastk.autograd",)),
    ("keras", "Inside Keras", ("fastk.integrations.keras",)),
    ("torch", "Inside PyTorch", ("fastk.integrations.torch", "fastk.optim")),
    ("runtime", "Dispatch, capture, errors", ("fastk.dispatch", "fastk.capture", "fastk.errors")),
)
SPLIT = ("layers", "ops")  # hundreds of names: a page for each package inside
FEWEST = 4  # names that are worth a page of their own
MOST_REPEATED = 9  # classes with which the members of a base are described


@dataclass(frozen=True)
class PublicName:
    """A name under which something can be imported, such as `fastk.layers.Dense`, and the one that describes it."""

    path: str
    value: Any = field(compare=False)
    home: str = ""

    @property
    def package(self) -> str:
        """The package that has the name."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition(".")[2]

    @property
    def summary(self) -> str:
        """The first sentences of its docstring."""
        return (inspect.getdoc(self.value) or "").strip().split("\n\n")[0].replace("\n", " ")

    def rank(self) -> tuple[bool, int]:
        """The lower, the better a place to be described at: the name it was defined with, not deep inside."""
        return self.name != getattr(self.value, "__name__", self.name), self.path.count(".")


@dataclass
class Page:
    """A page of the reference: its file and title, the packages it is about, their names, and those described on it."""

    file: str
    title: str
    packages: list[str]
    names: list[PublicName]
    described: list[PublicName]


def packages_of(patterns: tuple[str, ...]) -> list[str]:
    """The packages that are meant: those of Keras that fastk has, and fastk's own."""
    known = sorted(f"fastk.{package}" for package in PACKAGES)
    found = []
    for pattern in patterns:
        inside = [name for name in known if name.rpartition(".")[0] == pattern.removesuffix(".*")]
        found += inside if pattern.endswith(".*") else [pattern]
    return found


def unlisted() -> list[str]:
    """Public packages with names that stand on no page."""
    listed = {package for _, _, patterns in PAGES for package in packages_of(patterns)}
    packages = sorted({f"fastk.{package}" for package in PACKAGES} - listed)
    return [package for package in packages if importlib.util.find_spec(package) and names_of(package)]


def names_of(package: str) -> list[PublicName]:
    """What a package gives to its users: classes and functions."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == package
    ]
    values = [
        PublicName(unambiguous(f"{package}.{name}", getattr(module, name)), getattr(module, name))
        for name in sorted(set(names), key=str.lower)
    ]
    return [n for n in values if callable(n.value) and not isinstance(n.value, ModuleType)]


def unambiguous(path: str, value: Any) -> str:
    """`fastk.device` is a function and a module; the function is called by where it is defined."""
    return f"{value.__module__}.{value.__qualname__}" if path in sys.modules and inspect.isfunction(value) else path


@functools.cache
def pages() -> tuple[Page, ...]:
    """All pages of the reference, each object described on one of them."""
    made: list[Page] = []
    homes: dict[int, str] = {}
    for file, title, patterns in PAGES:
        packages = packages_of(patterns)
        names = [name for package in packages for name in names_of(package)]
        for name in sorted(names, key=PublicName.rank):
            homes.setdefault(id(name.value), name.path)
        names = [PublicName(name.path, name.value, homes[id(name.value)]) for name in names]
        page = Page(f"{file}.md", title, packages, names, [name for name in names if name.path == name.home])
        made += split(page, file) if file in SPLIT else [page]
    return tuple(made)


def split(page: Page, folder: str) -> list[Page]:
    """A page for each package inside a large one, by where objects are defined; the first lists all names."""
    package = page.packages[0]
    inner: dict[str, list[PublicName]] = {}
    for name in page.described:
        part = str(name.value.__module__).removeprefix(f"{package}.").partition(".")[0]
        inner.setdefault(part, []).append(name)
    left = [name for part, names in inner.items() if part == "fastk" or len(names) < FEWEST for name in names]
    return [
        Page(f"{folder}/index.md", page.title, [package], page.names, sorted(left, key=lambda name: name.path.lower())),
        *(
            Page(f"{folder}/{part}.md", part, [f"{package}.{part}"], names, names)
            for part, names in sorted(inner.items())
            if part != "fastk" and len(names) >= FEWEST
        ),
    ]


@functools.cache
def described_classes() -> frozenset[type]:
    """The classes that the reference describes."""
    return frozenset(name.value for page in pages() for name in page.described if inspect.isclass(name.value))


def own_bases(cls: type) -> list[type]:
    """The class and those of its bases that no other described class brings it."""
    ancestors = [base for base in cls.__mro__[1:] if base in described_classes()]
    elsewhere = {base for ancestor in ancestors for base in ancestor.__mro__}
    return [base for base in cls.__mro__ if base not in elsewhere and base.__module__.startswith("fastk")]


@functools.cache
def common_bases() -> frozenset[type]:
    """Bases without a place of their own that many classes have: their members are not repeated with each."""
    users = Counter(base for cls in described_classes() for base in own_bases(cls))
    return frozenset(base for base, count in users.items() if count > MOST_REPEATED)


def members_of(cls: type) -> tuple[list[str], list[str]]:
    """The methods and properties to describe with a class: its own, and those of bases that have no place themselves.

    What overrides a member of another class that has a place is described there.
    """
    bases = [base for base in own_bases(cls) if base not in common_bases()]
    others = [base for base in cls.__mro__ if base not in bases and base.__module__.startswith("fastk")]
    known = {member for base in others for member in vars(base)} | set(inspect.signature(cls.__init__).parameters)
    own, inherited = [], []
    for base in bases:
        for name, value in vars(base).items():
            if not name.startswith("_") and name not in known and is_documented(value):
                (own if base is cls else inherited).append(name)
                known.add(name)
    return own, inherited


def is_documented(member: Any) -> bool:
    """Whether a member of a class is a method or a property with a docstring."""
    is_function = inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod, property))
    return is_function and bool(inspect.getdoc(member))


def all_paths() -> list[str]:
    """Every public name that can be written as a path: where a module has the same name, it is what the path means."""
    return [name.path for page in pages() for name in page.names if name.path not in sys.modules]
