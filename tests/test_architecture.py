"""Imports go one way, and files stay small.

Every import is read, also those inside functions and those for type checkers alone: a dependency is one
however late it is met.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = {"fastk": "fastk", "kernels": "fastk.kernels", "autotune": "fastk.autotune", "bench": "fastk.bench"}
LONGEST_FILE = 600

# From the bottom to the top: a module imports from its own level and from those before it. Each name is a module
# or a package of fastk, `fastk` being `fastk/__init__.py`. docs/architecture.md shows the same table.
LEVELS = {
    "base": "capture config device dtypes errors lambdas legacy messages naming random scopes serialization "
    "tensor tree user_warning variable",
    "autotune": "autotune",
    "kernels": "kernels",
    "dispatch": "contest dispatch",
    "autograd": "autograd",
    "ops": "activations constraints dtype_policies graph initializers ops quantized_dtype_policies regularizers",
    "layers": "callbacks layers losses metrics optimizers quantizers utils",
    "models": "applications datasets export models preprocessing saving training",
    "top": "__main__ as_keras backend bench cli commands doctor fastk integrations mixed_precision run shim tune "
    "wrappers",
}
LEVEL_NAMES = list(LEVELS)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS.values()) for name in names.split()}

# (file, module that it imports): why this arrow may point up.
ALLOWED: dict[tuple[str, str], str] = {
    (
        "fastk/utils/__init__.py",
        "fastk.models.plot",
    ): "Keras's users look for plot_model in keras.utils; imported when asked for",
    (
        "fastk/utils/__init__.py",
        "fastk.models.feature_space",
    ): "Keras's users look for FeatureSpace in keras.utils; imported when asked for",
    **{
        ("kernels/verify/training_steps.py", f"fastk.{name}"): "a command trains whole models; nothing imports the file"
        for name in ("layers", "models", "utils")
    },
}


def python_files(*folders: str) -> list[str]:
    """The Python files of real folders, named from the root; `rglob` follows no link, so none comes twice."""
    return sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py"))


def package_of(file: str) -> list[str]:
    """The package that relative imports in `file` start from: `fastk.kernels.dense` for `kernels/dense/aten.py`."""
    folder, *rest = Path(file).parent.parts
    return [*SOURCE_FOLDERS[folder].split("."), *rest]


def imports(file: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, module of fastk) of every import in `source`."""
    for node in ast.walk(ast.parse(source, file)):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                start = package_of(file)[: 1 - level or None] if level else []
                origin = ".".join([*start, *([module] if module else [])])
                found = [f"fastk.{alias.name}" if alias.name in LEVEL_OF else origin for alias in names]
                found = found if origin == "fastk" else [origin]
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                found = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            case _:
                continue
        yield from ((node.lineno, name) for name in map(str, found) if name.split(".")[0] == "fastk")


def level_of(module: str) -> int:
    """The place of a module in LEVELS: that of `fastk.ops.nn` is that of `ops`."""
    name = [*module.split("."), "fastk"][1]
    if name not in LEVEL_OF:
        raise LookupError(f"{module} has no level: give {name!r} one in LEVELS and in docs/architecture.md.")
    return LEVEL_OF[name]


def upward_imports(file: str, source: str) -> list[str]:
    """A sentence for each import of `source` that points up."""
    stem = Path(file).stem
    own = level_of(".".join([*package_of(file), *([] if stem == "__init__" else [stem])]))
    return [
        f"{file}:{line} ({LEVEL_NAMES[own]}) imports {module} ({LEVEL_NAMES[level_of(module)]})"
        for line, module in imports(file, source)
        if level_of(module) > own and (file, module) not in ALLOWED
    ]


def test_imports_point_down():
    found = []
    for file in python_files(*SOURCE_FOLDERS):
        found += upward_imports(file, (ROOT / file).read_text(encoding="utf-8"))
    assert not found, "Imports that point up:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fastk/ops/nn.py", "from fastk.layers import Dense"),
        ("fastk/ops/nn.py", "import fastk.models.sequential as s"),
        ("fastk/ops/nn.py", "from fastk import config, layers"),
        ("fastk/ops/nn.py", "from fastk import Model"),  # an attribute of fastk/__init__.py, which is at the top
        ("fastk/ops/nn.py", "import fastk"),
        ("fastk/ops/nn.py", "from ..layers import Dense"),
        ("fastk/ops/nn.py", "from .. import layers"),
        ("fastk/ops/__init__.py", "from ..layers import Dense"),
        ("fastk/config.py", "from . import dispatch"),
        ("fastk/random/seed.py", "def f():\n    from fastk import ops"),
        ("kernels/dense/aten.py", "from fastk import autograd"),
        ("kernels/dense/aten.py", "from ...dispatch import choose"),
        ("autotune/space.py", "import fastk.kernels.dense"),
        ("fastk/ops/nn.py", "importlib.import_module('fastk.layers')"),
    ],
)
def test_an_arrow_up_is_found(file, source):
    (sentence,) = upward_imports(file, source)
    assert sentence.startswith(f"{file}:{len(source.splitlines())} ")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fastk/layers/core/dense.py", "from fastk import ops\nfrom ..base import Layer\nfrom . import embedding"),
        ("fastk/layers/__init__.py", "from .base import Layer\nfrom ..metrics import mean"),
        ("kernels/dense/__init__.py", "from . import aten\nfrom ... import autotune, config"),
        ("fastk/__init__.py", "from fastk import layers\nfrom . import models"),
        ("fastk/config.py", "import torch\nfrom layers import fastk"),
    ],
)
def test_an_arrow_down_or_across_is_not(file, source):
    assert upward_imports(file, source) == []


def test_a_module_without_a_level_is_named():
    with pytest.raises(LookupError, match=r"fastk\.novelty\.thing has no level"):
        upward_imports("fastk/novelty/thing.py", "")


def test_allowed_arrows_exist_and_say_why():
    for (file, module), reason in ALLOWED.items():
        source = (ROOT / file).read_text(encoding="utf-8")
        assert reason and module in {name for _, name in imports(file, source)}, (file, module)


def test_documentation_shows_the_levels():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for level, (name, modules) in enumerate(LEVELS.items()):
        assert f"| {level} | {name} | {', '.join(f'`{module}`' for module in modules.split())} |" in page


def test_files_are_short():
    lengths = {
        file: len((ROOT / file).read_text(encoding="utf-8").splitlines())
        for file in python_files(*SOURCE_FOLDERS, "tests", "examples", "tools")
    }
    long = [f"{file}: {length}" for file, length in lengths.items() if length > LONGEST_FILE]
    assert not long, f"Files over {LONGEST_FILE} lines, to be split by idea:\n" + "\n".join(long)
