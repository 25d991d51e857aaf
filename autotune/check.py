"""How well the model's predictions order what was measured: rank correlations of records.

For each tunable: Spearman's correlation of predicted clocks and measured times within a record, averaged; where the
fastest stands in the order of the predictions; and how much slower than the fastest the first of that order is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastk.autotune.database import Record

LEAST = 3  # timings, below which a record has no order to speak of


@dataclass(frozen=True)
class Check:
    """Of one tunable: how many records, the mean correlation, the mean place of the fastest, the mean loss.

    place: of the fastest in the order of the predictions, 0 being the first and 1 the last.
    loss: time of the first in that order over that of the fastest, less 1.
    """

    tunable: str
    records: int
    correlation: float
    place: float
    loss: float

    def __str__(self):
        return (
            f"{self.tunable:36} {self.records:4} records  correlation {self.correlation:5.2f}  the fastest is at "
            f"{self.place:4.0%} of the order  its first is {self.loss:4.0%} slower"
        )


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The rank correlation of two lists; equal values share their mean rank. 0 where one has no order.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    a, b = ranks(one), ranks(other)
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return statistics.correlation(a, b)


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value.

    >>> ranks([3.0, 1.0, 3.0])
    [1.5, 0.0, 1.5]
    """
    ordered = sorted(values)
    mean = {v: ordered.index(v) + (ordered.count(v) - 1) / 2 for v in set(values)}
    return [mean[v] for v in values]


def check(records: Iterable[Record]) -> list[Check]:
    """One for each tunable that has a record of at least 3 timings, by name."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for record in records:
        predicted = [float(timing["predicted"]) for timing in record.timings]
        measured = [float(timing["microseconds"]) for timing in record.timings]
        if len(measured) < LEAST:
            continue
        order = sorted(range(len(measured)), key=lambda i: predicted[i])
        fastest = min(order, key=lambda i: measured[i])
        place = order.index(fastest) / (len(order) - 1)
        row = (spearman(predicted, measured), place, measured[order[0]] / measured[fastest] - 1)
        found.setdefault(record.key.tunable, []).append(row)
    return [
        Check(name, len(rows), *(statistics.fmean(column) for column in zip(*rows, strict=True)))
        for name, rows in sorted(found.items())
    ]


def report(records: Iterable[Record]) -> str:
    """The checks as text, or why there are none."""
    lines = [str(one) for one in check(records)]
    return (
        "\n".join(lines) or f"No record has {LEAST} timings or more, so there is no order to compare predictions with."
    )
