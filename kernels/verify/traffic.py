"""`python -m fastk.kernels traffic`: the bytes and products that each op asks for, beside the least possible.

    python -m fastk.kernels traffic                  # the cases of every op, then a training step of each model
    python -m fastk.kernels traffic --op dense       # while working on one
    python -m fastk.kernels traffic --steps mlp      # only the steps, here of one model
    python -m fastk.kernels traffic --json out.json  # for a program to read

The kernels run in the interpreter, which counts (`interpreter.trace`). The exit status is 1 if a case does not pass.

The least bytes of an op are those of its arguments, read once, and of its results, written once; an op whose name ends
in `_` writes what it writes, once. An op that needs more, or products, says so. A row passes if

- it has products: at most 1.1 times the least FLOPs are asked for, or as many times as its case allows with a reason;
  how often a tile is read again is not judged;
- it says that elements asked for again come from the caches, as the neighbours in a window do: at most 1.01 times the
  least bytes are touched, each element once a launch;
- else it streams: at most 1.01 times the least bytes are asked for by its launches;
- and in any case, no two programs race.

An op's cases are in `kernels/<op>/traffic_cases.py`, which defines two functions:

    def traffic_cases() -> Iterator[TrafficCase]:
        yield TrafficCase("4096x1000 bf16", layer_norm_forward, (x, gamma, beta, (-1,), 1e-3))

    def least(name, arguments, results) -> Least:  # where the rule above does not do
        return Least(moved(arguments, results), flops=product_flops(m, n, k))

`least` is also asked about the calls of the op in a training step. Sizes are a 33rd of what keeps an H200 busy: the
interpreter has 4 multiprocessors (`triton_runtime.sm_count`), so a program has as many rows as there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import inspect
import json
import math
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fastk import config, kernels
from fastk.kernels.verify.memory import Launch

MOST_BYTES = 1.01
MOST_FLOPS = 1.1


@dataclass(frozen=True)
class Least:
    """What an op cannot do without.

    Attributes:
        bytes: read from and written to memory.
        flops: of matrix products; 0 for an op that has none.
        cached: whether what is asked for more than once comes from the caches.
    """

    bytes: int
    flops: int = 0
    cached: bool = False


@dataclass(frozen=True)
class TrafficCase:
    """One call of an op's launcher.

    Attributes:
        variant: sizes, dtype and flags in words.
        function: a launcher of the op's `triton_kernels.py`.
        arguments: tensors on the CPU, and what else it takes by position.
        most_flops: how many times the least it may multiply, where tiles that waste less would take longer.
    """

    variant: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    most_flops: float = MOST_FLOPS


@dataclass(frozen=True)
class Row:
    """What the launches of one call asked for, bytes and FLOPs; `distinct` counts an element once a launch."""

    op: str
    variant: str
    launches: int
    requested: int
    distinct: int
    least_bytes: int
    flops: int
    least_flops: int
    races: int
    problem: str | None

    def __str__(self) -> str:
        times = ratio(self.flops, self.least_flops) if self.flops else ""
        return (
            f"{self.op:36}{self.variant:36}{self.launches:3} launches {self.requested:12,} bytes "
            f"{ratio(self.requested, self.least_bytes)} {ratio(self.distinct, self.least_bytes)} distinct "
            f"{self.flops:14,} FLOPs {times:>7}  {f'FAIL {self.problem}' if self.problem else 'pass'}"
        )


def ratio(amount: int, least: int) -> str:
    """How many times the least an amount is: "1.013x".

    >>> ratio(27, 20), ratio(1, 0)
    ('1.350x', '     -')
    """
    return f"{amount / least:5.3f}x" if least else f"{'-':>6}"


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested lists and tuples that have elements."""
    if isinstance(value, torch.Tensor):
        if value.numel():
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def moved(*values: Any) -> int:
    """The bytes of all tensors in `values`; one that occurs twice, or repeats an element by a stride of 0, once.

    >>> x = torch.ones(8)
    >>> moved([x, (x, None)], x.expand(4, 8), torch.ones(2, dtype=torch.int8))
    34
    """
    found: dict[int, int] = {}
    for tensor in tensors_in(values):
        elements = 1
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            elements *= size if stride else 1
        place = tensor.data_ptr()
        found[place] = max(found.get(place, 0), elements * tensor.element_size())
    return sum(found.values())


def product_flops(M: int, N: int, K: int) -> int:
    """The FLOPs of a product [M, K] x [K, N] that tensor cores cannot do without: they take it in pieces 16 x 8 x 16.

    >>> product_flops(16, 10, 784) == 2 * 16 * 16 * 784
    True
    """
    return 2 * (-(-M // 16) * 16) * (-(-N // 8) * 8) * (-(-K // 16) * 16)


def judge(
    variant: str,
    name: str,
    arguments: tuple,
    results: Any,
    launches: Sequence[Launch],
    most_flops: float = MOST_FLOPS,
) -> Row:
    """The row of a call of launcher `name`, from what was counted in its launches."""
    least = least_of(name, arguments, results, launches)
    requested, flops = sum(launch.requested for launch in launches), sum(launch.dot_flops for launch in launches)
    distinct = sum(kind.unique for launch in launches for kind in (launch.loads, launch.stores, launch.atomics))
    races = sum(launch.races for launch in launches)
    problem = None
    if races:
        problem = f"races: of programs for {races} elements"
    elif least.flops and flops > math.ceil(most_flops * least.flops):
        problem = f"flops: more than {most_flops:.4g} times the least"
    elif not least.flops and (distinct if least.cached else requested) > MOST_BYTES * least.bytes:
        problem = f"bytes: more than {MOST_BYTES} times the least"
    return Row(name, variant, len(launches), requested, distinct, least.bytes, flops, least.flops, races, problem)


def least_of(name: str, arguments: tuple, results: Any, launches: Sequence[Launch]) -> Least:
    """What the op says is the least, or the bytes of its arguments and results."""
    rule = getattr(cases_module(folder(name)), "least", None)
    if rule is not None:
        return rule(name, arguments, results)
    if name.endswith("_"):
        return Least(moved(arguments) + sum(launch.stores.unique for launch in launches))
    return Least(moved(arguments, results))


def measure(case: TrafficCase) -> Row:
    """Runs a case in the interpreter."""
    interpreter = importlib.import_module("fastk.kernels.verify.interpreter")
    with interpreter.trace(reachable=tensors_in(case.arguments)) as launches:
        results = case.function(*case.arguments)
    return judge(case.variant, case.function.__name__, case.arguments, results, launches, case.most_flops)


def folder(name: str) -> str:
    """The folder of `kernels/` that a launcher belongs to: the longest name of one that its name begins with.

    >>> folder("conv2d_backward"), folder("adam_"), folder("dense_forward")
    ('conv2d', 'adam', 'dense')
    """
    matching = [op for op in ops() if name == op or name.startswith(f"{op}_")]
    if not matching:
        raise ValueError(f"No folder of kernels/ is the beginning of {name!r}: launchers are called after their op.")
    return max(matching, key=len)


def ops() -> list[str]:
    """The folders of `kernels/` with Triton kernels or traffic cases."""
    names = (module.name for module in pkgutil.iter_modules(kernels.__path__) if module.ispkg)
    return [name for name in names if _has(name, "triton_kernels") or _has(name, "traffic_cases")]


def cases_module(op: str) -> ModuleType | None:
    """`kernels/<op>/traffic_cases.py`, where there is one."""
    return importlib.import_module(f"fastk.kernels.{op}.traffic_cases") if _has(op, "traffic_cases") else None


def _has(op: str, file: str) -> bool:
    return importlib.util.find_spec(f"fastk.kernels.{op}.{file}") is not None


_calls: list[Row] | None = None  # the rows of the innermost `recorded_calls`


@contextlib.contextmanager
def recorded_calls() -> Iterator[list[Row]]:
    """Inside, each call of a launcher of any op appends its row; a launcher called by a launcher is part of it.

    To be entered in a process before the ops are first called: dispatch keeps the functions that it has found.
    """
    global _calls
    _install_recorders()
    outer, _calls = _calls, []
    try:
        yield _calls
    finally:
        _calls = outer


@functools.cache
def _install_recorders() -> None:
    """Puts a recorder in the place of each launcher; it calls the launcher where nothing records."""
    for op in ops():
        module = importlib.import_module(f"fastk.kernels.{op}.triton_kernels")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and name.startswith(f"{op}_"):
                setattr(module, name, _recorder(name, function))


def _recorder(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    interpreter = importlib.import_module("fastk.kernels.verify.interpreter")

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        global _calls
        rows, _calls = _calls, None  # what it calls is part of it
        if rows is None:
            return function(*arguments)
        try:
            with interpreter.trace(reachable=tensors_in(arguments)) as launches:
                results = function(*arguments)
        finally:
            _calls = rows
        rows.append(judge(_sizes(arguments), name, arguments, results, launches))
        return results

    return call


def _sizes(arguments: tuple) -> str:
    """The shapes of a call's first tensors."""
    tensors = list(tensors_in(arguments))
    shown = " ".join("x".join(map(str, tensor.shape)) or "scalar" for tensor in tensors[:3])
    return f"{shown} …" if len(tensors) > 3 else shown


def main(argv: list[str] | None = None) -> int:
    """Prints the rows; returns 1 if a case does not pass, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m fastk.kernels traffic",
        description="The bytes and products that each op asks for, beside the least possible.",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--op", action="append", help="only the cases of this op; may be given more than once")
    only.add_argument("--steps", nargs="*", help="only training steps, of the models named or of all")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    options = parser.parse_args(argv)
    if not config.triton_interpreted():
        command = [sys.executable, "-m", "fastk.kernels", "traffic", *(sys.argv[2:] if argv is None else argv)]
        return subprocess.run(command, env=config.environment_with(TRITON_INTERPRET="1")).returncode
    if unknown := set(options.op or ()) - set(ops()):
        parser.error(f"no op is called {', '.join(sorted(unknown))}; there are {', '.join(ops())}")
    importlib.import_module("fastk.kernels.verify.interpreter").install()
    training_steps = importlib.import_module("fastk.kernels.verify.training_steps")
    if unknown := set(options.steps or ()) - set(training_steps.MODELS):
        models = ", ".join(training_steps.MODELS)
        parser.error(f"no reference model is called {', '.join(sorted(unknown))}; there are {models}")
    rows: list[Row] = []
    for op in [] if options.steps is not None else options.op or ops():
        module = cases_module(op)
        for case in module.traffic_cases() if module else ():
            rows.append(measure(case))
            print(rows[-1], flush=True)
    steps: dict[str, list[Row]] = {}
    if not options.op:
        for model in options.steps or training_steps.MODELS:
            steps[model] = training_steps.step(model)
            print(f"\nOne training step of {training_steps.MODELS[model].title}\n{summary(steps[model])}", flush=True)
    if options.json:
        found = {"cases": rows, "steps": steps}
        options.json.write_text(json.dumps(found, default=asdict, indent=1) + "\n", encoding="utf-8")
    failed = [row for row in rows if row.problem]
    if rows:
        print(f"\n{len(rows) - len(failed)} of {len(rows)} cases pass.")
    return 1 if failed else 0


def summary(rows: Sequence[Row]) -> str:
    """The rows of a step and their sum."""
    launches, flops, least_flops = (
        sum(getattr(row, name) for row in rows) for name in ("launches", "flops", "least_flops")
    )
    traffic, least = sum(row.requested for row in rows), sum(row.least_bytes for row in rows)
    total = (
        f"{launches} launches, {traffic:,} bytes {ratio(traffic, least)}, {flops:,} FLOPs {ratio(flops, least_flops)}"
    )
    return "\n".join([*map(str, rows), f"in all {total}"])
