"""Measures models and makes rows of them."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastk.bench import results
from fastk.bench.models.providers import PROVIDERS
from fastk.bench.models.rounds import Worker, WorkerError, losses_agree, spins, take_turns
from fastk.bench.models.worker.cases import CASES, Case, steps_of

# What a process is asked for, what a row calls it, and whether it is one call or an epoch's steps.
MEASURES = {"train": "fit", "predict": "predict", "predict_one": "one row"}
FACTS = ("parameters", "where", "loss", "peak_mb_at_start", "peak_mb", "spins")  # in the rows of `fit`


@dataclass(frozen=True)
class Options:
    """How models are measured.

    Args:
        providers: names of `providers.PROVIDERS`.
        threads: for every provider alike.
        rounds: how often each is asked.
        quick: whether an epoch has a quarter of its steps.
        device: `"cpu"` hides GPUs.
        home: a folder for Keras's settings.
    """

    providers: Sequence[str]
    threads: int
    rounds: int
    quick: bool
    device: str
    home: str


def chosen(device: str, models: Sequence[str], default: Sequence[str] = tuple(CASES)) -> list[str]:
    """The models to measure: those named, or of `default` those that are meant for the device."""
    return list(models) or [name for name in default if device in CASES[name].devices]


def measure(model: str, options: Options) -> list[dict]:
    """The rows of a model: for each provider one a measure, or one that says why there is none."""
    case, steps = CASES[model], steps_of(CASES[model], options.quick)
    failed = {name: why for name in options.providers if (why := PROVIDERS[name].missing())}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in options.providers:
            if name not in failed:
                environment = PROVIDERS[name].environment(options.threads, options.device, options.home)
                workers[name] = Worker(PROVIDERS[name].command(model, steps, options.threads), environment)
                stack.callback(workers[name].close)
        facts: dict[str, dict] = {}
        for name, worker in workers.items():
            try:
                answer = worker.answer()
                facts[name] = {"parameters": answer["parameters"], "where": answer["device"]}
                facts[name]["peak_mb_at_start"] = answer["peak_mb"]
            except WorkerError as error:
                failed[name] = str(error)
        answers, stopped = take_turns({name: workers[name] for name in facts}, options.rounds)
        failed |= stopped
        for name in answers:
            facts[name]["peak_mb"] = workers[name].ask("memory")["peak_mb"]
            facts[name]["loss"] = answers[name][-1]["train"]["loss"]
            facts[name]["spins"] = spins(answers[name])
    failed |= unequal(answers, facts)
    return rows(model, case, steps, {n: a for n, a in answers.items() if n not in failed}, facts, failed)


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


def rows(
    model: str,
    case: Case,
    steps: int,
    answers: dict[str, list[dict]],
    facts: dict[str, dict],
    failed: dict[str, str],
) -> list[dict]:
    """What the answers come to; times are of a step, or of a call with one row."""
    common = {"kind": "model", "case": model, "variant": f"batch {case.batch}", "dtype": case.policy, "steps": steps}
    found = []
    for asked, name in MEASURES.items():
        unit = 1e3 if asked == "predict_one" else 1e3 / steps
        samples = {p: [answer[asked]["seconds"] * unit for answer in rounds] for p, rounds in answers.items()}
        for provider, times in results.timed(samples).items():
            row = common | {"measure": name, "provider": provider} | times
            found.append(row | ({fact: facts[provider][fact] for fact in FACTS} if asked == "train" else {}))
    return found + [common | {"measure": "fit", "provider": p, "failed": why} for p, why in failed.items()]


def table(rows: Sequence[dict], threads: int) -> Iterator[str]:
    """The lines that show a model's rows: microseconds."""
    first = rows[0]
    case = CASES[first["case"]]
    yield f"\n{first['case']}: {case.about}; {first['variant']}, {first['steps']} steps, {threads} threads"
    titles = "".join(f"{title:>12} {'× fastk':>8}" for title in MEASURES.values())
    yield f"  {'µs a step, a call':18}{titles}{'fit p25–p75':>19}{'loss':>8}{'peak MB':>9}"
    by_provider: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_provider.setdefault(row["provider"], {})[row["measure"]] = row
    for provider, measures in by_provider.items():
        fit = measures["fit"]
        if "failed" in fit:
            yield f"  {provider:18}{fit['failed'][:110]}"
            continue
        cells = "".join(
            f"{1e3 * row['ms']['p50']:12.1f} {row.get('times_fastk', float('nan')):8.2f}" for row in measures.values()
        )
        quartiles = f"{1e3 * fit['ms']['p25']:.1f}–{1e3 * fit['ms']['p75']:.1f}"
        notes = " (uses the processor while it waits)" if fit["spins"] else ""
        yield f"  {provider:18}{cells}{quartiles:>19}{fit['loss']:8.4f}{fit['peak_mb']:9.0f}{notes}"
