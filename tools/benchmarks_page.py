"""Writes `docs/benchmarks.md` from the results in `bench/results`.

python tools/benchmarks_page.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastk.bench import results
from fastk.bench.aims import AIMS, Aim, mean
from fastk.bench.models.providers import PROVIDERS
from fastk.bench.models.worker.cases import CASES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "bench" / "results"
ABSENT = "not measured"
OTHERS = ("state.json",)  # what bench/gpu.sh leaves beside results
HEAD = """\
# Benchmarks

Measured by `fastk bench`; [benchmarking](benchmarking.md) says how. The tables are written by
`tools/benchmarks_page.py` from the files in `bench/results`, the newest of each device and number of threads: no number
comes from elsewhere, and what was not measured says so.
"""


def of_machines(folder: Path, device: str) -> list[list[dict[str, Any]]]:
    """The results of each name and number of threads, of devices of one kind, the newest first."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    paths = [path for path in folder.glob("*/**/*.json") if path.name not in OTHERS]
    for result in sorted(map(results.load, paths), key=lambda result: result["about"]["date"], reverse=True):
        about = result["about"]
        if about["device"] == device:
            found.setdefault((about["name"], about["threads"]), []).append(result)
    return [result for _, result in sorted(found.items())]


def newest(of_machine: Sequence[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The newest result that has rows of a kind."""
    return next((result for result in of_machine if any(row["kind"] == kind for row in result["rows"])), None)


def render(folder: Path = RESULTS) -> str:
    """The whole page."""
    machines = {device: of_machines(folder, device) for device in ("cpu", "cuda")}
    parts = [HEAD]
    for title, kind in (("a CPU", "cpu"), ("an NVIDIA GPU", "cuda")):
        parts.append(f"\n## Models on {title}\n\n")
        for number, result in enumerate([r for m in machines[kind] if (r := newest(m, "model"))] or [None]):
            parts += ["\n" * bool(number), _about(result), *_models(result, kind)]
    parts.append("\n## Operations on a CPU\n\n")
    for result in [r for m in machines["cpu"] if (r := newest(m, "op"))] or [None]:
        parts += [_about(result), *_ops(result)]
    parts.append(
        "\n## Aims on a GPU\n\nWhat the kernels are meant to reach, as dispatched unless it says otherwise, in"
    )
    parts.append(" bfloat16 unless it says\notherwise; over several sizes the geometric mean. Aims are no results.\n\n")
    for of_machine in machines["cuda"] or [[]]:
        parts += [_about(of_machine[0] if of_machine else None), *_aims(of_machine)]
    return "".join(parts)


def _about(result: dict | None) -> str:
    if result is None:
        return ""
    about = result["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['name']}, {about['threads']} threads, commit `{about['commit'][:12]}`, {about['date'][:10]}. "
        f"{versions}.\n\n"
    )


def _models(result: dict | None, kind: str) -> Iterator[str]:
    """Microseconds a training step, fastk's ratio to the best rival, and a prediction of one row."""
    yield "Microseconds a training step (`fit`), medians.\n\n" if result else ""
    yield f"| model | {' | '.join(PROVIDERS)} | best rival over fastk |\n|---|{'---|' * (len(PROVIDERS) + 1)}\n"
    times = results.times_of(result["rows"]) if result else {}
    for name, case in CASES.items():
        if kind not in case.devices:
            continue
        rows = {provider: _row(times, name, "fit", provider) for provider in PROVIDERS}
        cells = [f"{1e3 * row['ms']['p50']:,.0f}" if row else ABSENT for row in rows.values()]
        yield f"| {name}, batch {case.batch} | {' | '.join(cells)} | {_best(rows['fastk'])} |\n"


def _ops(result: dict | None) -> Iterator[str]:
    """A line for each case and direction."""
    rows = [r for r in (result["rows"] if result else ()) if r["kind"] == "op" and r["provider"] == "fastk"]
    if not rows:
        yield f"{ABSENT.capitalize()}.\n"
        return
    yield f"| op | direction | fastk, ms | ran | best rival over fastk | % of the roofline |\n{'|---' * 6}|\n"
    for row in rows:
        name = f"{row['case']} {row['variant']} {row['dtype']}"
        if "failed" in row:
            yield f"| {name} | {row['measure']} | failed: {row['failed']} | | | |\n"
            continue
        roof = f"{row['roofline_percent']:.0f}" if "roofline_percent" in row else ABSENT
        yield f"| {name} | {row['measure']} | {row['ms']['p50']:.4f} | {row['ran']} | {_best(row)} | {roof} |\n"


def _aims(of_machine: Sequence[dict]) -> Iterator[str]:
    """A line for each aim, from the newest result that can tell: both of a ratio's times are of one run."""
    yield "| what | aim | measured | sizes |\n|---|---|---|---|\n"
    for aim in AIMS:
        values = next((found for result in of_machine if (found := aim.measured(result["rows"]))), [])
        yield f"| {aim.what} | {aim.text()} | {_measured(aim, values)} | {len(values) or ''} |\n"


def _measured(aim: Aim, values: Sequence[float]) -> str:
    value = mean(list(values))
    if value is None:
        return ABSENT
    shown = f"{value:.0f} %" if aim.rival is None else f"{value:.2f} ×"
    return f"{shown}, {'reached' if value >= aim.least else 'not reached'}"


def _row(times: dict, case: str, measure: str, provider: str) -> dict | None:
    return next(
        (r for k, r in times.items() if k[0] == "model" and (k[1], k[4], k[5]) == (case, measure, provider)), None
    )


def _best(row: dict | None) -> str:
    if not row or "best_rival_percent" not in row:
        return ABSENT
    return f"{row['best_rival_percent'] / 100:.2f} × ({row['best_rival']})"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
