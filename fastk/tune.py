"""`fastk tune`: measures kernel configurations, and shows, moves or clears what was measured.

fastk tune model.keras --batch 128 --seconds 5       # the kernels of a model's training step
fastk tune op dense --shape M=4096,K=1024,N=1024 --dtype bf16
fastk tune op dense --shape M=4096,K=1024,N=1024 --dry-run     # the model's order; no GPU is needed
fastk tune show | export FILE | import FILE | check [FILE] | clear
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import itertools
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fastk import autotune, commands, config, kernels, losses, tree
from fastk.atomic import write_atomically
from fastk.autotune import Tunable, search, tuner
from fastk.autotune.check import report
from fastk.autotune.compilation import Outcome, Workers
from fastk.autotune.database import Record, default_database, dumps, loads
from fastk.autotune.space import TUNABLES, problem_from_data
from fastk.commands import Refusal
from fastk.kernels.activation.aten import ACTIVATIONS

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MULTIPROCESSORS = {80: 108, 90: 132, 100: 148}  # of A100, H200 and B200, for a dry run
# Fields of problems that `--shape` may leave out.
DEFAULTS: dict[str, Any] = {
    "aligned": True, "training": True, "sparse": True, "reads": True, "groups": 1, "multiplier": 1, "tensors": 1,
    "lists": 4, "factors": 0, "strides": (1, 1), "dilation": (1, 1), "name": "relu", "activation": None,
    "gates": {"lstm": 4, "gru": 3},
}  # fmt: skip


def register(subparsers: Any) -> None:
    """Adds the command to the parsers of `fastk`."""
    parser = subparsers.add_parser(
        "tune",
        help="measure kernel configurations; show, export, import or clear what was measured",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", help="a .keras file, or one of op, show, export, import, check, clear")
    parser.add_argument("name", nargs="?", help="an op (dense, lstm.forward), or the file of export, import and check")
    parser.add_argument(
        "--batch", type=commands.positive, default=32, metavar="N", help="samples of the model's batch (32)"
    )
    parser.add_argument("--seconds", type=commands.positive_seconds, metavar="S", help="the most time for one problem")
    parser.add_argument("--shape", type=_shape, default={}, metavar="M=…,N=…", help="the sizes and flags of the op")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the op's tensors (bf16)")
    parser.add_argument("--dry-run", action="store_true", help="order the op's configurations by the model alone")
    parser.add_argument("--compile", action="store_true", help="in a dry run: compile what is printed, and say how")
    parser.add_argument("--arch", type=int, choices=MULTIPROCESSORS, default=90, help="of a dry run (90)")
    parser.add_argument(
        "--top", type=commands.positive, default=10, metavar="N", help="how many configurations to print (10)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit status."""
    actions = {"op": _op, "show": _show, "export": _export, "import": _import, "check": _check, "clear": _clear}
    _check_options(options, takes_name=options.what in ("op", "export", "import", "check"))
    actions.get(options.what, _model)(options)
    return 0


def _check_options(options: argparse.Namespace, takes_name: bool) -> None:
    """Refuses what would have no effect."""
    if options.name and not takes_name:
        raise Refusal(f"`fastk tune {options.what}` takes no other name. Received: {options.name!r}.")
    for option, given in (("--shape", options.shape), ("--dry-run", options.dry_run), ("--compile", options.compile)):
        if given and options.what != "op":
            raise Refusal(f"{option} belongs to `fastk tune op NAME --shape …`. Received: `fastk tune {options.what}`.")
    if options.compile and not options.dry_run:
        raise Refusal("--compile is of a dry run: pass --dry-run too. A search that measures compiles what it tries.")


# ---------------------------------------------------------------- measuring


def _op(options: argparse.Namespace) -> None:
    chosen = tunables_of(options.name)
    if options.dry_run:
        for tunable, problem in _problems(chosen, options, options.arch, MULTIPROCESSORS[options.arch]):
            _predict(tunable, problem, options.top, options.compile)
        return
    _need_gpu("Pass --dry-run for the order that the model predicts, for the architecture of --arch.")
    from fastk.kernels import triton_runtime
    from fastk.kernels.tuning import as_called

    problems = _problems(chosen, options, triton_runtime.architecture(), triton_runtime.sm_count())
    with _tuning(options.seconds):
        for tunable, problem in problems:
            with as_called(problem):
                decision = autotune.decision_for(tunable, problem, tunable.example(problem, "cuda"), anew=True)
            print(_line(decision.record) if decision.record else f"{tunable.name}: not measured")


def _predict(tunable: Tunable, problem: Any, top: int, compiles: bool) -> None:
    """Prints the order of the configurations; of those that are compiled too what they take."""
    order = search.ranked(tunable, problem)
    least, default = order[0][0], tunable.default(problem)
    print(
        f"{tunable.name} on sm_{problem.architecture}: {len(order)} valid configurations, predicted, not measured; "
        "costs relative to the least"
    )
    place = next((i for i, (_, c) in enumerate(order) if c == default), -1)
    shown = [*range(min(top, len(order))), *([place] if place >= top else [])]
    outcomes: list[Outcome] = []
    if compiles:
        workers = Workers()
        candidates = [order[i][1] for i in shown]
        outcomes = workers.compile(tunable, problem, tunable.example(problem, "meta"), candidates, 600.0)
        workers.close()
    for i, outcome in itertools.zip_longest(shown, outcomes):
        cost, configuration = order[i]
        name = f"{configuration}{'  (default)' if i == place else ''}"
        print(f"{i + 1:5} {cost / least:6.2f}  {name}{_taken(outcome)}")


def _taken(outcome: Outcome | None) -> str:
    """What a compiled candidate takes, in words."""
    if outcome is None or isinstance(outcome, str):
        return f"  does not compile: {outcome}" if outcome else ""
    spilt = f", {outcome.spill_bytes} bytes spilt: a search drops it" if outcome.spill_bytes else ""
    return f"  {outcome.registers} registers, {outcome.shared_bytes} bytes of shared memory{spilt}"


def _model(options: argparse.Namespace) -> None:
    if not options.what.endswith(".keras"):
        raise Refusal(f"{options.what!r} is neither a .keras file nor one of op, show, export, import, check, clear.")
    model = commands.load_model(options.what)
    _need_gpu("Kernels of a model are measured where they run; `fastk tune op … --dry-run` predicts single ones.")
    with _tuning(options.seconds):
        step(model, options.batch)
        measured = [
            decision.record
            for decided in autotune.decisions().values()
            for decision in decided.values()
            if decision.record is not None
        ]
    for record in measured:
        print(_line(record))
    print(f"{len(measured)} problems have a measurement now, in {default_database().path}.")


def step(model: Any, batch: int) -> None:
    """One training step of a compiled model on random numbers, else forward and backward; weights are not saved."""
    inputs = tree.map_structure(lambda x: _sample(x.shape, x.dtype, batch), model.inputs)
    inputs = inputs[0] if len(inputs) == 1 else inputs
    if getattr(model, "compiled", False):
        targets = [_target(loss, x, batch) for loss, x in zip(_losses(model), model.outputs, strict=True)]
        model.train_on_batch(inputs, targets[0] if len(targets) == 1 else targets)
        return
    results = [x for x in tree.flatten(model(inputs, training=True)) if x.requires_grad]
    weights = [v.value for v in model.trainable_variables]
    if results and weights:
        torch.autograd.grad(results, weights, [torch.ones_like(x) for x in results], allow_unused=True)


def _sample(shape: tuple, dtype: str, batch: int) -> torch.Tensor:
    from fastk import dtypes
    from fastk.device import get_device

    kind = dtypes.to_torch_dtype(dtype)
    sizes = [batch if i == 0 else size for i, size in enumerate(shape)]
    if None in sizes:
        raise Refusal(f"an input has the shape {tuple(shape)}: sizes other than the batch's must be known.")
    if kind.is_floating_point:
        return torch.randn(sizes, dtype=kind, device=get_device())
    return torch.zeros(sizes, dtype=kind, device=get_device())


def _losses(model: Any) -> list[Any]:
    loss = model.loss
    if isinstance(loss, dict):
        return [loss.get(name) for name in model.output_names]
    return list(loss) if isinstance(loss, (list, tuple)) else [loss] * len(model.outputs)


def _target(loss: Any, output: Any, batch: int) -> torch.Tensor:
    """What a loss takes: numbers of classes for a sparse one, else an equal part of each output."""
    sparse = isinstance(losses.get(loss), losses.SparseCategoricalCrossentropy) or losses.get(loss) is (
        losses.sparse_categorical_crossentropy
    )
    if sparse:
        return torch.zeros_like(_sample(output.shape[:-1], "int32", batch))
    return torch.full_like(_sample(output.shape, output.dtype, batch), 1.0 / max(1, output.shape[-1]))


@contextlib.contextmanager
def _tuning(seconds: float | None) -> Iterator[None]:
    """The mode "on", with so many seconds for a problem."""
    before = config.autotune(), config.autotune_seconds()
    config.set_autotune("on")
    config.set_autotune_seconds(seconds or before[1])
    try:
        yield
    finally:
        config.set_autotune(before[0])
        config.set_autotune_seconds(before[1])


def _need_gpu(instead: str) -> None:
    if tuner.device_name() is None:
        raise Refusal(f"there is no CUDA device that kernels run on, so nothing can be measured. {instead}")


# ---------------------------------------------------------------- problems from the command line


def tunables_of(name: str | None) -> list[Tunable]:
    """The tunables of an op, or the one that is named in full."""
    _load_all()
    names = sorted(known for known in TUNABLES if not known.endswith(".implementation"))
    found = [TUNABLES[known] for known in names if name in (known, known.partition(".")[0])]
    if not found:
        ops = ", ".join(dict.fromkeys(known.partition(".")[0] for known in names))
        wrong = f"there is no op {name!r} to tune" if name else "`fastk tune op` needs the name of an op"
        raise Refusal(f"{wrong}. Expected one of {ops}, or one of {', '.join(names)}.")
    return found


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _load_all() -> None:
    """Imports what registers tunables: the configurations of every op."""
    if not _has_triton():
        raise Refusal("the kernels need Triton, which is not installed: `pip install triton`.")
    for folder in pkgutil.iter_modules(kernels.__path__):
        name = f"fastk.kernels.{folder.name}.configurations"
        if folder.ispkg and importlib.util.find_spec(name):
            importlib.import_module(name)


def _problems(
    chosen: list[Tunable], options: argparse.Namespace, architecture: int, sm_count: int
) -> list[tuple[Tunable, Any]]:
    """The tunables with their problems, of all before the first is shown or measured."""
    try:
        return [(tunable, problem_of(tunable, options, architecture, sm_count)) for tunable in chosen]
    except Refusal as error:
        if len(chosen) == 1:
            raise
        names = ", ".join(tunable.name for tunable in chosen)
        raise Refusal(f"{error} Each kernel has sizes of its own: name one of {names}.") from None


def problem_of(tunable: Tunable, options: argparse.Namespace, architecture: int, sm_count: int) -> Any:
    """The problem that `--shape` and `--dtype` describe."""
    fields = tunable.problem._fields  # type: ignore[attr-defined]
    given = options.shape
    if unknown := set(given) - set(fields):
        raise Refusal(
            f"{tunable.name} knows no {', '.join(sorted(unknown))}: its problems have the fields {', '.join(fields)}."
        )
    dtype = DTYPES[options.dtype]
    precision = config.float32_precision()
    fixed = {
        "dtype": dtype,
        "kind": "half" if dtype.itemsize == 2 else precision,
        "precision": precision if dtype == torch.float32 else None,
        "architecture": architecture,
        "sm_count": sm_count,
    }
    values: dict[str, Any] = {}
    for name in fields:
        kind = str(tunable.problem.__annotations__[name])
        if name in given:
            values[name] = _fitting(tunable, name, kind, given[name])
        elif name in fixed:
            values[name] = fixed[name]
        elif name in DEFAULTS:
            default = DEFAULTS[name]
            values[name] = default[tunable.name.partition(".")[0]] if isinstance(default, dict) else default
        elif "bool" in kind:
            values[name] = False
    if missing := [name for name in fields if name not in values]:
        example = ",".join(f"{name}=…" for name in missing)
        raise Refusal(f"{tunable.name} needs {', '.join(missing)}: pass --shape {example}.")
    return problem_from_data(tunable, values)


def _fitting(tunable: Tunable, name: str, kind: str, value: Any) -> Any:
    """A value of `--shape`, if it is one that the field can have."""
    least = 0 if DEFAULTS.get(name) == 0 else 1
    if name in ("dtype", "kind", "precision"):
        raise Refusal(f"`{name}` follows from --dtype, and is no part of --shape.")
    if "tuple" in kind:
        expected, fits = "two sizes, like 3x3", isinstance(value, tuple) and len(value) == 2 and min(value) > 0
    elif "int" in kind:
        expected, fits = f"a whole number of {least} or more", type(value) is int and value >= least
    elif "bool" in kind:
        expected, fits = "true or false", isinstance(value, bool)
    else:
        expected, fits = f"none or one of {', '.join(ACTIVATIONS)}", value is None or value in ACTIVATIONS
    if not fits:
        raise Refusal(f"`{name}` of {tunable.name} is {expected}. Received: {_as_typed(value)}.")
    return value


def _as_typed(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _shape(text: str) -> dict[str, Any]:
    """`M=64,window=3x3,has_bias=true` as a dictionary."""
    words = {"true": True, "false": False, "none": None}

    def value(part: str) -> Any:
        if part.lower() in words:
            return words[part.lower()]
        if all(number.isdecimal() for number in part.split("x")):
            numbers = tuple(map(int, part.split("x")))
            return numbers[0] if len(numbers) == 1 else numbers
        return part

    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(name and equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE,…, like M=4096,window=3x3. Received: {text!r}")
    return {name: value(part) for name, _, part in pairs}


# ---------------------------------------------------------------- the database


def _show(options: argparse.Namespace) -> None:
    database = default_database()
    records = database.records().values()
    if records and _has_triton():  # without it, configurations are shown as they are stored
        _load_all()
    for record in records:
        print(_line(record))
    print(f"{len(records)} measurements in {database.path}; the mode is {config.autotune()!r} (FASTK_AUTOTUNE).")


def _export(options: argparse.Namespace) -> None:
    records = default_database().records()
    write_atomically(_file(options), dumps(records.values()))
    print(f"Wrote {len(records)} measurements to {options.name}.")


def _import(options: argparse.Namespace) -> None:
    records = _read(_file(options))
    default_database().put(*records)
    print(f"Added {len(records)} measurements to {default_database().path}.")


def _clear(options: argparse.Namespace) -> None:
    database = default_database()
    print(f"Removed {database.clear()} measurements from {database.path}.")


def _check(options: argparse.Namespace) -> None:
    """How well the present model orders what was measured, here or in a file."""
    records = _read(Path(options.name)) if options.name else default_database().records().values()
    _load_all()
    print(report(map(_predicted_anew, records)))


def _predicted_anew(record: Record) -> Record:
    """A record with the predictions of the present model, as far as its tunable and configurations still exist."""
    tunable = TUNABLES.get(record.key.tunable)
    if tunable is None:
        return record
    problem, timings = problem_from_data(tunable, record.key.problem), []
    for timing in record.timings:
        configuration = tunable.configuration_from(timing["configuration"])
        if configuration is not None:
            timings.append({**timing, "predicted": search.predicted(tunable, problem, configuration)})
    return replace(record, timings=timings)


def _file(options: argparse.Namespace) -> Path:
    if not options.name:
        raise Refusal(f"{options.what} needs a file: `fastk tune {options.what} FILE`.")
    return Path(options.name)


def _read(path: Path) -> list[Record]:
    try:
        return list(loads(path.read_text(encoding="utf-8")).values())
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} holds no measurements: {error}") from None


def _line(record: Record) -> str:
    """A record as text."""
    problem = " ".join(f"{name}={str(value).removeprefix('torch.')}" for name, value in record.key.problem.items())
    tunable = TUNABLES.get(record.key.tunable)
    known = tunable.configuration_from(record.configuration) if tunable else None
    ratio = record.default_microseconds / record.microseconds
    dropped = ", ".join(f"{count} {why}" for why, count in record.failures.items())
    return (
        f"{record.key.tunable} {problem} on {record.key.device}: {known or record.configuration} "
        f"{record.microseconds:.1f} us, the default {record.default_microseconds:.1f} us ({ratio:.2f} x)"
        + (f"; dropped: {dropped}" if dropped else "")
        + (f"; {record.untried} not tried" if record.untried else "")
    )
