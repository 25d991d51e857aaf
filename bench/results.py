"""The one format of results: what a row holds, how times become rows, and the file.

A file holds `{"schema", "about", "rooflines", "rows"}`. A row says what was measured (`kind`, `case`, `variant`,
`dtype`, `measure`, `provider`) and either `failed`, a sentence, or

- `ms`: percentiles of the times, and how many there were;
- `times_fastk`: the median of the ratios to fastk's time in the same round (above 1: fastk is faster);
- `best_rival` and `best_rival_percent`: the fastest that is not fastk's, and its median time over this one's;
- `flops`, `bytes`, `launches`, and the `tflops`, `gbs` and `roofline_percent` that follow, where they are known;
- `ran`: the implementation that dispatch took; for models also what the process used.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastk.atomic import replacing
from fastk.errors import FileFormatError

SCHEMA = 1
KEY = ("kind", "case", "variant", "dtype", "measure", "provider")
PERCENTILES = (20, 25, 50, 75, 80)
REFERENCE = "fastk"
FLOOR = "floor"  # a part of the work alone: less than any provider must do, so no rival


def ours(provider: str) -> bool:
    """Whether a provider is fastk, dispatched or with one implementation asked for."""
    return provider == REFERENCE or provider.startswith(f"{REFERENCE}-")


def key(row: dict[str, Any]) -> tuple[str, ...]:
    """What a row is about; the same in another run of the same measurement."""
    return tuple(row[name] for name in KEY)


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """The times' percentiles by linear interpolation, and their number.

    >>> percentiles([1.0, 2.0, 3.0, 4.0, 5.0])
    {'p20': 1.8, 'p25': 2.0, 'p50': 3.0, 'p75': 4.0, 'p80': 4.2, 'samples': 5}
    """
    cuts = statistics.quantiles(milliseconds, n=20, method="inclusive") if len(milliseconds) > 1 else None
    found = {f"p{p}": round(cuts[p // 5 - 1], 9) if cuts else milliseconds[0] for p in PERCENTILES}
    return found | {"samples": len(milliseconds)}


def timed(samples: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """What the times of one measurement come to, for each provider.

    Args:
        samples: milliseconds by provider; those at one place are of one round.
    """
    medians = {name: statistics.median(values) for name, values in samples.items()}
    rivals = {name: median for name, median in medians.items() if not ours(name) and name != FLOOR}
    best = min(rivals, key=rivals.__getitem__) if rivals else None
    found: dict[str, dict[str, Any]] = {}
    for name, values in samples.items():
        found[name] = {"ms": percentiles(values)}
        if REFERENCE in samples:
            ratios = [value / base for value, base in zip(values, samples[REFERENCE], strict=True)]
            found[name]["times_fastk"] = statistics.median(ratios)
        if best:
            found[name] |= {"best_rival": best, "best_rival_percent": 100 * rivals[best] / medians[name]}
    return found


def save(path: Path, about: dict, rooflines: dict, rows: list[dict]) -> None:
    """Writes a result whole; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA, "about": about, "rooflines": rooflines, "rows": rows}, indent=1)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def load(path: Path) -> dict[str, Any]:
    """A result.

    Raises:
        FileFormatError: the file is no result, or one of another version of the format.
        FileNotFoundError: there is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, and of UTF-8
        raise FileFormatError(f"{path} holds no JSON ({error}). Expected a file of `fastk bench --json`.") from None
    if not isinstance(found, dict) or not {"about", "rooflines", "rows"} <= set(found):
        raise FileFormatError(f"{path} is no result of `fastk bench --json`: it lacks 'about', 'rooflines' or 'rows'.")
    if found.get("schema") != SCHEMA:
        raise FileFormatError(
            f"{path} is of version {found.get('schema')!r} of the format, and this fastk reads version {SCHEMA}. "
            "Measure again, or read it with the fastk that wrote it."
        )
    return found


def times_of(rows: Iterable[dict]) -> dict[tuple[str, ...], dict]:
    """The rows that have times, by what they are about."""
    return {key(row): row for row in rows if "ms" in row}
