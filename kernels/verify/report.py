"""`python -m fastk.kernels report`: compiles the cases of all ops and says what does not pass its gates.

    python -m fastk.kernels report --op dense --arch 90       # while working on one
    python -m fastk.kernels report --cases my_kernels.py      # a file with kernels and `cases()`, not yet an op's
    python -m fastk.kernels report --json report.json         # everything, for a program to read

One row is one kernel, variant, dtype and architecture. Both the compiled kernels and the rows are kept in Triton's
cache, so that what has not changed costs a few milliseconds. The exit status is 1 if a gate was not passed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import json
import multiprocessing
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import triton
from triton.runtime.cache import get_cache_manager

from fastk.kernels import triton_runtime
from fastk.kernels.verify import accesses, machine_code
from fastk.kernels.verify.case import Case, cases_of, collect, ops_with_cases
from fastk.kernels.verify.compiler import compiling_for
from fastk.kernels.verify.gates import problems
from fastk.kernels.verify.machine_code import DEVICES, Binary, MachineCode


@dataclass(frozen=True)
class Row:
    """A kernel compiled for one architecture, and the gates that it does not pass with the reasons.

    `code` is None where nothing was compiled; the gate `compiles` then says why.
    """

    op: str
    kernel: str
    variant: str
    dtype: str
    architecture: int
    code: MachineCode | None
    problems: dict[str, str]

    @property
    def name(self) -> str:
        """The row in one word."""
        return f"{self.op}/{self.kernel}/{self.variant}/{self.dtype}/sm_{self.architecture}"


@dataclass(frozen=True)
class Task:
    """What a worker process is told to compile. Launches are closures, so it looks for the case itself."""

    source: str  # an op, or the path of a file with cases
    key: tuple[str, str, str]
    architecture: int

    @property
    def op(self) -> str:
        """The op, or the name of the file."""
        return Path(self.source).stem


@functools.cache
def cases_in(source: str) -> dict[tuple[str, str, str], Case]:
    """The cases of an op, or of a Python file with a `cases()`, by their keys."""
    if not source.endswith(".py"):
        return {case.key: case for case in cases_of(source)}
    name = Path(source).stem
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None or not Path(source).is_file():
        raise FileNotFoundError(f"There is no file of cases at {source!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a jitted function finds its globals there
    spec.loader.exec_module(module)
    return {case.key: case for case in collect(name, module.cases)}


def tasks_for(sources: Iterable[str], architectures: Sequence[int], quick: bool) -> list[Task]:
    """What is to be compiled: all cases for all their architectures, or with `quick` what the tests have time for.

    Those are the quick cases for sm_90, and the first of each kernel for its other architectures too.
    """
    tasks = []
    for source in sources:
        kernels: set[str] = set()
        for case in cases_in(source).values():
            if quick and not case.quick:
                continue
            everywhere = not quick or case.kernel not in kernels or 90 not in case.architectures
            wanted = case.architectures if everywhere else (90,)
            tasks += [Task(source, case.key, architecture) for architecture in wanted if architecture in architectures]
            kernels.add(case.kernel)
    return tasks


def compile_rows(task: Task) -> list[Row]:
    """The rows of one case on one architecture: one for each binary that its kernel was compiled to."""
    case = cases_in(task.source)[task.key]
    row = Row(task.op, case.kernel, case.variant, case.dtype, task.architecture, None, {})
    try:
        with compiling_for(task.architecture) as launches:
            case.launch()
    except Exception as error:  # whatever it is, it belongs to this row, and the other rows are wanted too
        return [replace(row, problems={"compiles": f"{type(error).__name__}: {error}"})]
    binaries = list(dict.fromkeys(launch.binary for launch in launches if launch.binary.name == case.kernel))
    if not binaries:
        names = ", ".join(sorted({launch.binary.name for launch in launches})) or "nothing"
        return [replace(row, problems={"compiles": f"The case launches {names}, and never {case.kernel}."})]
    rows = []
    for number, binary in enumerate(binaries, start=1):
        code = analyse_once(binary)
        variant = f"{case.variant} ({number})" if len(binaries) > 1 else case.variant
        rows.append(replace(row, variant=variant, code=code, problems=problems(case, task.architecture, code)))
    return rows


def analyse_once(binary: Binary) -> MachineCode:
    """`analyse(binary)`, kept in Triton's cache beside the kernel itself."""
    digest = hashlib.sha256(_analysis_source() + pickle.dumps(binary)).hexdigest()
    cache = get_cache_manager(digest)
    if path := cache.get_file("machine_code.json"):
        return MachineCode.from_json(json.loads(Path(path).read_text()))
    code = machine_code.analyse(binary)
    cache.put(json.dumps(asdict(code)), "machine_code.json", binary=False)
    return code


@functools.cache
def _analysis_source() -> bytes:
    return "".join(map(inspect.getsource, (accesses, machine_code))).encode()


def all_rows(tasks: Sequence[Task], jobs: int) -> Iterator[Row]:
    """The rows of all tasks in order, compiled by `jobs` processes at a time."""
    if jobs == 1:
        for task in tasks:
            yield from compile_rows(task)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch and Triton are imported once
    with ProcessPoolExecutor(jobs, context) as pool:
        for rows in pool.map(compile_rows, tasks):
            yield from rows


def golden(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """The resources that the tests compare with those of an earlier commit."""
    return {
        row.name: {"registers": row.code.registers, "spill_bytes": row.code.spill_bytes} for row in rows if row.code
    }


def line(row: Row, widths: Sequence[int]) -> str:
    """A row as text, its problems on lines of their own."""
    names = (row.op, row.kernel, row.variant, row.dtype, f"sm_{row.architecture}")
    text = " ".join(name.ljust(width) for name, width in zip(names, widths, strict=True))
    if code := row.code:
        products = " ".join(f"{count} {name}" for name, count in code.tensor_cores.items())
        waits = f" {code.loop_waits} wait" if code.loop_waits else ""
        traffic = code.traffic
        loads = Counter(traffic.loads) + Counter(traffic.copies)
        text += (
            f" {code.registers:3} regs {code.spill_bytes:5} spilt {code.shared_bytes:6} shared"
            f" {code.blocks_per_multiprocessor:2} blocks {code.occupancy:4.0%}  {code.instructions:5} instructions"
            f"  loads {_widths(loads, traffic.tma_loads)}  stores {_widths(traffic.stores, traffic.tma_stores)}"
            f"  {products}{waits}"
        )
    return "\n".join([text.rstrip(), *(f"    {gate}: {why}" for gate, why in row.problems.items())])


def _widths(counts: dict[int, int], tma: int) -> str:
    parts = [f"{counts[bits]}×{bits}" for bits in sorted(counts, reverse=True)]
    return " ".join([*parts, *([f"{tma}×TMA"] if tma else [])]) or "0"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(argv)
    if triton_runtime.INTERPRETED:
        print("TRITON_INTERPRET is set, so kernels are interpreted and never compiled: unset it.", file=sys.stderr)
        return 2
    started = time.perf_counter()
    tasks = tasks_for(options.cases or options.op or ops_with_cases(), options.arch or tuple(DEVICES), options.quick)
    if not tasks:
        print("There is no such case.", file=sys.stderr)
        return 2
    names = [(task.op, *task.key, f"sm_{task.architecture}") for task in tasks]
    widths = [max(map(len, column)) + 1 for column in zip(*names, strict=True)]
    rows: list[Row] = []
    for row in all_rows(tasks, options.jobs):
        rows.append(row)
        print(line(row, widths), flush=True)
    failed = sum(bool(row.problems) for row in rows)
    print(
        f"Triton {triton.__version__}: {len(rows)} rows, {failed or 'none'} with a gate that is not passed, "
        f"{time.perf_counter() - started:.0f} s."
    )
    if options.json:
        data = {"triton": triton.__version__, "rows": [{"name": row.name, **asdict(row)} for row in rows]}
        options.json.write_text(json.dumps(data, indent=1))
    if options.update_golden:
        path = options.update_golden / f"resources-triton-{triton.__version__}.json"
        path.write_text(json.dumps(golden(rows), indent=1) + "\n")
        print(f"Wrote {path}.")
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastk.kernels report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", type=int, action="append", choices=DEVICES, help="only this one (repeatable)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--op", action="append", choices=ops_with_cases(), help="only this op (repeatable)")
    which.add_argument("--cases", action="append", metavar="FILE", help="the cases of this file instead of the ops'")
    parser.add_argument("--quick", action="store_true", help="only the cases that the test command compiles")
    parser.add_argument("--jobs", type=int, default=_usable_cores(), help="processes (default: the usable cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument(
        "--update-golden", type=Path, metavar="FOLDER", help="write the resources that the tests compare with"
    )
    return parser


def _usable_cores() -> int:
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
