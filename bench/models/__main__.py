"""The command: measures the models asked for, prints a table for each, and writes all of it as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
from pathlib import Path

from bench.about import about, cores
from bench.models import __doc__ as description
from bench.models.cases import CASES, steps_of
from bench.models.providers import PROVIDERS
from bench.models.rounds import (
    MEASURES,
    Worker,
    WorkerError,
    losses_agree,
    spins,
    start,
    summary,
    take_turns,
)

REFERENCE = "fastk"
SLOWER = "× fastk"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=(description or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES), metavar="MODEL")
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=list(PROVIDERS), metavar="PROVIDER")
    parser.add_argument(
        "--threads", type=int, default=len(cores()), help="for every provider alike; default: all cores"
    )
    parser.add_argument("--rounds", type=int, help="11 unless given; 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps and few rounds")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="'cpu' hides GPUs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 11)
    if not 1 <= arguments.threads <= len(cores()):
        parser.error(f"--threads must be from 1 to {len(cores())}, the cores that there are: {arguments.threads}")
    return arguments


def measure(model: str, arguments: argparse.Namespace, home: str) -> list[dict]:
    """One row a provider: times, or why there are none."""
    case, steps = CASES[model], steps_of(CASES[model], arguments.quick)
    failed = {name: why for name in arguments.providers if (why := PROVIDERS[name].missing())}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in arguments.providers:
            if name not in failed:
                environment = PROVIDERS[name].environment(arguments.threads, arguments.device, home)
                workers[name] = start(name, model, steps, arguments.threads, environment)
                stack.callback(workers[name].close)
        facts: dict[str, dict] = {}
        for name, worker in workers.items():
            try:
                facts[name] = worker.answer()
            except WorkerError as error:
                failed[name] = str(error)
        answers, stopped = take_turns({name: workers[name] for name in facts}, arguments.rounds)
        failed |= stopped
        for name in answers:
            facts[name]["peak_mb_at_start"] = facts[name].pop("peak_mb")
            facts[name] |= workers[name].ask("memory")
    failed |= unequal(answers, facts)
    known = {"model": model, "about": case.about, "batch": case.batch, "steps": steps}
    return [
        known | {"provider": name} | ({"failed": failed[name]} if name in failed else row(name, answers, facts, steps))
        for name in arguments.providers
    ]


def unequal(answers: dict[str, list[dict]], facts: dict[str, dict]) -> dict[str, str]:
    """The providers that did not train the same model as the others, and what says so."""
    if not answers:
        return {}
    losses = {name: [a["train"]["loss"] for a in rounds] for name, rounds in answers.items()}
    usual = [statistics.median(epoch) for epoch in zip(*losses.values(), strict=True)]
    parameters = statistics.median_low(facts[name]["parameters"] for name in answers)
    wrong = {
        name: f"losses {values[0]:.3f} to {values[-1]:.3f}, where {usual[0]:.3f} to {usual[-1]:.3f} is usual"
        for name, values in losses.items()
        if not losses_agree(values, usual)
    }
    return wrong | {
        name: f"{facts[name]['parameters']} parameters instead of {parameters}"
        for name in answers
        if facts[name]["parameters"] != parameters
    }


def row(name: str, answers: dict[str, list[dict]], facts: dict[str, dict], steps: int) -> dict:
    """What one provider's answers come to; times in microseconds, a step or a call with one row."""
    found: dict = dict(facts[name], loss=answers[name][-1]["train"]["loss"], spins=spins(answers[name]))
    for measure in MEASURES:
        unit = 1e6 if measure == "predict_one" else 1e6 / steps
        times = {n: [a[measure]["seconds"] * unit for a in rounds] for n, rounds in answers.items()}
        found[f"{measure}_us"] = summary(times[name], times.get(REFERENCE)) | {"rounds": times[name]}
    return found


def show(rows: list[dict], threads: int) -> None:
    """Prints a model's table."""
    first = rows[0]
    print(f"\n{first['model']}: {first['about']}; batch {first['batch']}, {first['steps']} steps, {threads} threads")
    columns = [f"{title:>10} {SLOWER:>7}" for title in ("fit", "predict", "one row")]
    print(f"{'':17}{columns[0]} {'quartiles':>17} {columns[1]} {columns[2]} {'loss':>7} {'peak MB':>8}")
    for one in rows:
        if "failed" in one:
            print(f"{one['provider']:17}{one['failed'][:110]}")
            continue
        cells = [f"{one[f'{m}_us']['median']:10.1f} {one[f'{m}_us'].get('ratio', float('nan')):7.2f}" for m in MEASURES]
        quartiles = f"{one['train_us']['q1']:.1f}–{one['train_us']['q3']:.1f}"
        notes = " (uses the processor while it waits)" if one["spins"] else ""
        print(
            f"{one['provider']:17}{cells[0]} {quartiles:>17} {cells[1]} {cells[2]} {one['loss']:7.4f} "
            f"{one['peak_mb']:8.0f}{notes}",
            flush=True,
        )


def main() -> None:
    """Measures and reports."""
    arguments = parse()
    result: dict = {"about": about() | {"threads": arguments.threads, "rounds": arguments.rounds}, "rows": []}
    print("Microseconds a step of fit and of predict, and a call of predict with one row; medians over "
          f"{arguments.rounds} rounds.\n{result['about']['cpu']}, {result['about']['versions']}")  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        for model in arguments.models:
            rows = measure(model, arguments, home)
            show(rows, arguments.threads)
            result["rows"] += rows
            if arguments.json:  # after each model: a run that is stopped has what it measured
                arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
