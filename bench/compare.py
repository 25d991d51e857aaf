"""`fastk bench compare`: what became faster or slower between two results."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastk.bench import results
from fastk.errors import ConfigurationError

ALIKE = ("device", "name", "cpu", "threads", "cold")  # what two results must share for their times to be compared
VERDICTS = ("broken", "slower", "faster", "mended", "same", "gone", "new")
REGRESSIONS = ("broken", "slower")


@dataclass(frozen=True)
class Change:
    """What became of one row.

    Args:
        key: what the row is about, `results.KEY`.
        verdict: one of `VERDICTS`.
        before: the median time in ms, or None.
        after: likewise.
        note: why a row is broken, or why a change is not believed.
    """

    key: tuple[str, ...]
    verdict: str
    before: float | None
    after: float | None
    note: str = ""

    @property
    def regression(self) -> bool:
        """Whether fastk lost something; what became of a rival is not fastk's doing."""
        return self.verdict in REGRESSIONS and results.ours(self.key[-1])

    def __str__(self) -> str:
        times = " → ".join("–" if ms is None else f"{ms:.4g} ms" for ms in (self.before, self.after))
        percent = f"{100 * (self.after / self.before - 1):+.1f} %" if self.before and self.after else ""
        name = " ".join(self.key[1:])
        return f"{self.verdict:8}{name:72}{times:>26}{percent:>10}  {self.note}".rstrip()


def unlike(first: dict[str, Any], second: dict[str, Any]) -> str | None:
    """None, or in what two machines differ so that their times cannot be compared."""
    found = [
        f"{name} is {first.get(name)!r} in the one and {second.get(name)!r} in the other"
        for name in ALIKE
        if first.get(name) != second.get(name)
    ]
    return "; ".join(found) or None


def changes(before: dict[str, Any], after: dict[str, Any], threshold: float) -> list[Change]:
    """A change for each row of either result, regressions first.

    A row is slower or faster if its median moved by more than the threshold and the ranges from the first to the third
    quartile do not overlap.

    Args:
        before: a result.
        after: another.
        threshold: a share: 0.05 for 5 %.
    """
    old, new = ({results.key(row): row for row in result["rows"]} for result in (before, after))
    broken = {key[:4] + key[5:]: row["failed"] for key, row in new.items() if "failed" in row}
    found = [_change(key, old.get(key), new.get(key), threshold, broken) for key in {**old, **new}]
    return sorted((c for c in found if c), key=lambda c: (not c.regression, VERDICTS.index(c.verdict)))


def _change(
    key: tuple[str, ...], old: dict | None, new: dict | None, threshold: float, broken: dict[tuple[str, ...], str]
) -> Change | None:
    a, b = (row["ms"] if row and "ms" in row else None for row in (old, new))
    before, after = (ms["p50"] if ms else None for ms in (a, b))
    if a is None and b is None:
        return None
    if b is None:
        why = broken.get(key[:4] + key[5:])  # a failure stands for all measures of its provider
        return Change(key, "broken" if why else "gone", before, None, why or "")
    if a is None:
        return Change(key, "mended" if old else "new", None, after)
    moved = b["p50"] / a["p50"] - 1
    if abs(moved) <= threshold:
        return Change(key, "same", before, after)
    apart = b["p25"] > a["p75"] if moved > 0 else b["p75"] < a["p25"]
    if not apart:
        return Change(key, "same", before, after, "the quartiles overlap")
    return Change(key, "slower" if moved > 0 else "faster", before, after)


def register(commands: Any, guarded: Callable) -> None:
    """Adds the command to `fastk bench`'s."""
    parser = commands.add_parser(
        "compare",
        help="what became faster or slower between two results",
        description="Compares two files of `fastk bench --json`. The exit status is 1 where fastk became slower or "
        "fails where it did not.",
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--threshold", type=percent, default=0.05, metavar="PERCENT", help="smaller changes are none (5%%)"
    )
    parser.add_argument("--all", action="store_true", help="show the rows that are the same, too")
    parser.add_argument("--force", action="store_true", help="compare what was measured on unlike machines")
    parser.set_defaults(run=guarded(run))


def percent(text: str) -> float:
    """A share from "5%" or "5".

    >>> percent("5%"), percent("2.5")
    (0.05, 0.025)
    """
    if not re.fullmatch(r"\d+(\.\d+)?\s*%?", text):
        raise argparse.ArgumentTypeError(f"expected a number of percent like 5%, not {text!r}")
    return float(text.rstrip("% ")) / 100


def run(options: argparse.Namespace) -> int:
    """Prints the changes; returns 1 where there is a regression."""
    before, after = results.load(options.before), results.load(options.after)
    if (why := unlike(before["about"], after["about"])) and not options.force:
        raise ConfigurationError(
            f"{options.before} and {options.after} were not measured on like machines: {why}. "
            "Measure both on one, or pass --force."
        )
    found = changes(before, after, options.threshold)
    for change in found:
        if options.all or change.verdict != "same":
            print(change)
    counts = {verdict: sum(c.verdict == verdict for c in found) for verdict in VERDICTS}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing to compare")
    regressions = sum(change.regression for change in found)
    if regressions:
        print(f"{regressions} regressions of fastk.")
    return 1 if regressions else 0
