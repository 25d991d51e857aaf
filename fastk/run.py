"""`fastk run script.py`: a program written for Keras runs on fastk as it is.

fastk run train.py --epochs 5         # also python -m fastk.run train.py --epochs 5
fastk run -m package.train --epochs 5

The program sees what it sees under `python`: its arguments, `__main__`, `__file__`, `sys.path[0]`, its exit status, and
tracebacks without lines of this file. `import keras` gives fastk, in processes that it spawns too.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import os
import pkgutil
import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from fastk.as_keras import install_as_keras

USAGE = """\
usage: fastk run [-h] (script | -m module) [arguments ...]

Runs a program written for Keras on fastk: in it, `import keras` gives fastk.

  script       a Python file, or a folder or zip file with a __main__.py
  -m module    a module, looked for as `python -m` does
  arguments    the program's own
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns the exit status, unless the program itself exits.

    Args:
        argv: what stands after `fastk run`; by default the arguments of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    as_module = arguments[:1] == ["-m"]
    program = arguments[as_module:]
    if not program or (program[0].startswith("-") and not as_module):
        print(USAGE + "\nfastk run: error: give a script, or -m and a module", file=sys.stderr)
        return 2
    if not as_module and not os.path.exists(program[0]):
        print(f"fastk run: can't open file {os.path.abspath(program[0])!r}: no such file", file=sys.stderr)
        return 2
    install_as_keras()
    return _without_own_frames(_run_module if as_module else _run_script, program)


def _run_script(program: list[str]) -> None:
    script = program[0]
    sys.argv[:] = program
    if os.path.isdir(script) or _is_archive(script):
        _set_path(script)
        runpy.run_path(script, run_name="__main__")
        return
    _set_path(os.path.dirname(os.path.realpath(script)))
    path = os.path.join(os.getcwd(), script)  # as Python names it: `..` and links stay
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=path,
        __builtins__=builtins,
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __package__=None,
        __annotations__={},
    )
    sys.modules["__main__"] = module  # what pickle, multiprocessing and inspect look for
    exec(code, module.__dict__)


def _run_module(program: list[str]) -> None:
    sys.argv[:] = program
    _set_path(os.getcwd())
    runpy.run_module(program[0], run_name="__main__", alter_sys=True)


def _is_archive(path: str) -> bool:
    return pkgutil.get_importer(path) is not None


def _set_path(first: str) -> None:
    """Puts the program's folder where Python puts it, in place of this command's own."""
    if not sys.flags.safe_path:
        sys.path[:1] = [first]
    sys.path.insert(0 if sys.flags.safe_path else 1, str(Path(__file__).parent / "shim"))


def _without_own_frames(run, program: list[str]) -> int:
    """Runs, and reports an exception as Python does at the top: by `sys.excepthook`, from the program's lines on."""
    try:
        run(program)
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        kind, traceback = type(error), error.__traceback__
        own = (__file__, runpy.__file__, "<frozen runpy>")
        while traceback is not None and traceback.tb_frame.f_code.co_filename in own:
            traceback = traceback.tb_next
        sys.excepthook(kind, error.with_traceback(traceback), traceback)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
