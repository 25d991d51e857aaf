"""`fastk bench`: measures ops and models, compares two results, shows results as a page.

fastk bench --quick                              # about a minute: a few ops and models, fastk and torch
fastk bench --ops dense conv2d --json a.json     # only these ops
fastk bench --models mlp --providers fastk keras-jax
fastk bench compare a.json b.json                # exit status 1 where fastk became slower
fastk bench report a.json -o report.html
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fastk.bench import compare, report, results
from fastk.bench.about import about, cores
from fastk.bench.models import measure as models
from fastk.bench.models import providers as model_providers
from fastk.bench.models.worker.cases import CASES as MODELS
from fastk.bench.models.worker.cases import QUICK as QUICK_MODELS
from fastk.bench.ops import cases as op_cases
from fastk.bench.ops import clock, roofline
from fastk.bench.ops import measure as ops
from fastk.bench.ops import providers as op_providers
from fastk.errors import ConfigurationError, FastkError, did_you_mean

DTYPES = {"cpu": ["float32"], "cuda": ["bfloat16", "float32"]}
ROUNDS = {"cpu": 15, "cuda": 30}  # of ops
QUICK_ROUNDS, MODEL_ROUNDS, QUICK_MODEL_ROUNDS = 7, 11, 3
BUSY = 0.5  # of the cores: more load than that of other work is told of
SECONDS_A_CASE, QUICK_SECONDS_A_CASE = 3.0, 0.5


def register(commands: Any) -> None:
    """Adds the command to `fastk`'s."""
    parser = commands.add_parser(
        "bench",
        help="what ops and models cost here, beside their rivals; compare and report results",
        description="Measures ops and whole models beside their rivals; what is not installed is left out.",
        epilog="`fastk bench compare -h` and `fastk bench report -h` say what those do.",
    )
    parser.add_argument("--ops", nargs="*", metavar="OP", help="only these ops; none named: all ops, and no models")
    parser.add_argument(
        "--models", nargs="*", metavar="MODEL", help=f"only these of {', '.join(MODELS)}; none named: all, and no ops"
    )
    every = dict.fromkeys([*op_providers.PROVIDERS, *model_providers.PROVIDERS])
    parser.add_argument("--providers", nargs="+", metavar="NAME", help=f"only these of {', '.join(every)}")
    parser.add_argument("--quick", action="store_true", help="about a minute: few cases, rounds and rivals")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured to this file")
    parser.add_argument("--resume", action="store_true", help="keep what FILE holds, and measure the rest")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="'cpu' hides GPUs")
    parser.add_argument("--dtypes", nargs="+", metavar="DTYPE", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, help="of a CPU, for every provider alike; default: all cores")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each provider is measured")
    parser.add_argument("--seconds", type=float, metavar="S", help="begin no case after that long")
    parser.add_argument("--cold", action="store_true", help="ops on a CPU: empty the caches before each sample")
    parser.add_argument("--seed", type=int, default=0, help="of the operands")
    parser.set_defaults(run=_guarded(run))
    inner = parser.add_subparsers(metavar="compare | report")
    compare.register(inner, _guarded)
    report.register(inner, _guarded)


def run(options: argparse.Namespace) -> int:
    """Measures; returns the exit status."""
    device = "cuda" if options.device == "auto" and torch.cuda.is_available() else "cpu"
    _check(options)
    options.threads = options.threads or len(cores())
    one = Run(options, device)
    both = options.ops is None and options.models is None
    with tempfile.TemporaryDirectory() as home:
        if options.ops is not None or (both and _providers(options, op_providers.PROVIDERS, op_providers.QUICK)):
            one.ops()
        if options.models is not None or (both and _providers(options, model_providers.PROVIDERS, ("fastk",))):
            one.models(home)
    if options.json and one.rows:
        print(f"\nWritten to {options.json}: `fastk bench report {options.json} -o report.html` makes a page of it.")
    if one.left:
        print(f"\nOut of time: {one.left} cases are left. The same command with --resume measures them.")
    return 0


class Run:
    """One run: what it has measured, and until when.

    Args:
        options: of the command line.
        device: `"cpu"` or `"cuda"`.
    """

    def __init__(self, options: argparse.Namespace, device: str):
        self.options, self.device, self.left = options, device, 0
        self.about = about(device) | {"threads": options.threads, "seed": options.seed, "quick": options.quick}
        self.about |= {"cold": device == "cuda" or options.cold}
        self.rows: list[dict] = []
        self.rooflines: dict[str, dict] = {}
        self._until = time.monotonic() + options.seconds if options.seconds else None
        if options.resume and options.json and options.json.exists():
            self._continue(results.load(options.json))
        self._done = {(row["kind"], row["case"], row["variant"], row["dtype"]) for row in self.rows}
        if (load := self.about["load"]) and load > BUSY * self.about["cores"]:
            print(
                f"Other work is running here (load {load:.1f} on {self.about['cores']} cores): times will be longer, "
                "and ratios unreliable. --threads 1 suffers least.",
                file=sys.stderr,
            )
        print(f"{self.about['name']}, {options.threads} threads, {self.about['versions']}")

    def _continue(self, before: dict) -> None:
        if why := compare.unlike(before["about"], self.about):
            raise ConfigurationError(f"{self.options.json} cannot be continued: {why}. Write to another file.")
        self.rows, self.rooflines = before["rows"], before["rooflines"]
        self.about["date"], self.about["resumed"] = before["about"]["date"], self.about["date"]

    def ops(self) -> None:
        """Measures the machine, then ops."""
        options = self.options
        dtypes = [getattr(torch, name) for name in options.dtypes or DTYPES[self.device]]
        quick = options.quick
        settings = ops.Options(
            self.device,
            _providers(options, op_providers.PROVIDERS, op_providers.QUICK),
            options.rounds or (QUICK_ROUNDS if quick else ROUNDS[self.device]),
            QUICK_SECONDS_A_CASE if quick else SECONDS_A_CASE,
            options.cold,
            options.seed,
        )
        with _alike(options.threads, self.device):
            watch = clock.clock_of(self.device, options.cold)
            limits = roofline.measure(self.device, dtypes, watch)
            self.rooflines["measured"] = {"copy_gbs": limits.copy_gbs, "product_tflops": limits.product_tflops}
            products = ", ".join(f"{rate:.3g} TFLOP/s in {name}" for name, rate in limits.product_tflops.items())
            print(f"The machine: copies {limits.copy_gbs:.1f} GB/s; products {products}")
            for dtype in dtypes:
                for case in ops.chosen(self.device, options.ops or (), quick):
                    key = ("op", case.op, case.variant, str(dtype).removeprefix("torch."))
                    if self._begins(key):
                        rows = ops.measure(case, dtype, settings, watch, limits)
                        self._add(rows, ops.table(rows))

    def models(self, home: str) -> None:
        """Measures models, each in a process for each provider."""
        options = self.options
        settings = models.Options(
            _providers(options, model_providers.PROVIDERS, model_providers.QUICK),
            options.threads,
            options.rounds or (QUICK_MODEL_ROUNDS if options.quick else MODEL_ROUNDS),
            options.quick,
            self.device,
            home,
        )
        for name in models.chosen(self.device, options.models or (), QUICK_MODELS if options.quick else tuple(MODELS)):
            case = MODELS[name]
            if self._begins(("model", name, f"batch {case.batch}", case.policy)):
                rows = models.measure(name, settings)
                self._add(rows, models.table(rows, options.threads))

    def _begins(self, key: tuple[str, ...]) -> bool:
        if key in self._done:
            return False
        if self._until is not None and time.monotonic() > self._until:
            self.left += 1
            return False
        return True

    def _add(self, rows: list[dict], lines: Iterable[str]) -> None:
        print(*lines, sep="\n", flush=True)
        self.rows += rows
        if self.options.json:  # after each case: a run that is stopped has what it measured
            results.save(self.options.json, self.about, self.rooflines, self.rows)


@contextlib.contextmanager
def _alike(threads: int, device: str) -> Iterator[None]:
    """The same number of cores for every library, and on a GPU the same precision: no TF32, cuDNN's fastest plans."""
    before, mine = torch.get_num_threads(), cores()
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):  # JAX, which is imported later, counts these
        os.sched_setaffinity(0, mine[:threads])
    try:
        if device == "cuda":
            torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
        yield
    finally:
        torch.set_num_threads(before)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, mine)


def _guarded(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command whose faults of usage, and files that cannot be read or written, are a line and the exit status 2."""

    def run(options: argparse.Namespace) -> int:
        try:
            return command(options)
        except (FastkError, OSError) as error:
            print(f"fastk bench: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nfastk bench: stopped. What was measured is in the file of --json.", file=sys.stderr)
            return 130

    return run


def _check(options: argparse.Namespace) -> None:
    known = list(dict.fromkeys(case.op for case in op_cases.cases()))
    every = dict.fromkeys([*op_providers.PROVIDERS, *model_providers.PROVIDERS])
    for kind, names, there in (
        ("op", options.ops, known),
        ("model", options.models, MODELS),
        ("provider", options.providers, every),
    ):
        unknown = [name for name in names or () if name not in there]
        if unknown:
            near = did_you_mean(unknown, there)
            raise ConfigurationError(f"No {kind} is called {', '.join(unknown)}.{near} There are {', '.join(there)}.")
    for flag, asked, there in (
        ("--ops", options.ops, op_providers.PROVIDERS),
        ("--models", options.models, model_providers.PROVIDERS),
    ):
        if asked is not None and not _providers(options, there, ()) and options.providers:
            raise ConfigurationError(
                f"None of {', '.join(options.providers)} is measured by {flag}, whose providers are {', '.join(there)}."
            )
    most = len(cores())
    if options.threads is not None and not 1 <= options.threads <= most:
        raise ConfigurationError(f"--threads must be from 1 to {most}, the cores that there are: {options.threads}.")
    if options.rounds is not None and options.rounds < 1:
        raise ConfigurationError(f"--rounds must be 1 or more: {options.rounds}.")
    if options.resume and not options.json:
        raise ConfigurationError("--resume continues the file of --json, which is not given.")


def _providers(options: argparse.Namespace, known: dict[str, Any], quick: Sequence[str]) -> list[str]:
    """Those asked for that this kind of measurement has."""
    if options.providers:
        return [name for name in known if name in options.providers]
    return list(quick if options.quick else known)
