"""What is built holds what the tree holds: each file once, under its package's name."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = ("results", "gpu.sh")  # of bench/: what was measured, and a script for a machine with a GPU and the tests
FOLDERS = {
    "fastk": "fastk",
    "kernels": "fastk/kernels",
    "autotune": "fastk/autotune",
    "bench": "fastk/bench",
}  # in the wheel


def run_python(*arguments, cwd):
    """Runs this interpreter, without the paths that the environment adds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def shipped_files(root):
    """The name in the wheel of every file in the folders; `rglob` follows no link, so none comes twice."""
    return sorted(
        f"{place}/{path.relative_to(root / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for path in (root / folder).rglob("*")
        if path.is_file()
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The files that a build reads, copied without what builds and runs leave behind."""
    copy = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", ".*", *CHECKOUT)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignore)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tree):
    """The wheel that `python -m build` makes: from the source distribution, which it makes first."""
    result = run_python("-m", "build", "--no-isolation", "--outdir", "dist", ".", cwd=tree)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tree / "dist").glob("*.whl")
    return path


def test_wheel_holds_exactly_the_tree(tree, wheel):
    names = zipfile.ZipFile(wheel).namelist()
    contents = sorted(name for name in names if ".dist-info/" not in name)
    assert contents == shipped_files(tree)
    assert "fastk/py.typed" in contents
    assert {"fastk/kernels/__init__.py", "fastk/autotune/__init__.py", "fastk/bench/__init__.py"} <= set(contents)


def test_wheel_imports_under_its_own_names(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import fastk.autotune, fastk.bench, fastk.kernels as k, importlib.util as u;"
    code += "print(k.__file__, u.find_spec('kernels'))"
    result = run_python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "fastk/kernels/__init__.py"), "None"]


@pytest.mark.parametrize("name", ["kernels", "autotune", "bench"])
def test_bare_names_are_refused(name):
    result = run_python("-c", f"import {name}", cwd=ROOT)
    assert result.returncode == 1
    assert f"ImportError: This folder is the package fastk.{name}, not '{name}'" in result.stderr


@pytest.mark.parametrize("name", ["kernels", "autotune", "bench"])
def test_checkout_imports_real_folders(name):
    result = run_python("-c", f"import fastk.{name} as m; print(m.__file__)", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).resolve() == ROOT / name / "__init__.py"
