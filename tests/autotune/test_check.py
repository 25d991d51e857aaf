"""The check of predictions, on planted costs: there are no measurements yet."""

import math
import random

import pytest

from fastk.autotune.__main__ import main
from fastk.autotune.check import check, report, spearman
from fastk.autotune.database import Key, Record, dumps
from fastk.autotune.search import predicted, search

from .conftest import FakeTimer


def record(pairs, tunable="toy"):
    timings = [{"configuration": {}, "predicted": p, "microseconds": m} for p, m in pairs]
    best = min(m for _, m in pairs)
    return Record(Key(tunable, {"size": len(pairs)}, "GPU", "3.9.0", "abc"), {}, best, best, timings)


def test_spearman():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [1, 2, 3]) == 0
    assert spearman([1, 1, 2], [5, 6, 7]) == pytest.approx(math.sqrt(3) / 2)  # 0.5 0.5 2 against 0 1 2


def test_rows():
    rows = [record([(1, 12.0), (2, 10.0), (3, 30.0)]), record([(1, 1.0), (2, 2.0), (3, 3.0)], "toy2")]
    one, two = check(rows)
    assert (one.tunable, one.records, one.correlation) == ("toy", 1, pytest.approx(0.5))
    assert (one.place, one.loss) == (0.5, pytest.approx(0.2))
    assert (two.correlation, two.place, two.loss) == (pytest.approx(1), 0.0, 0.0)
    words = " ".join(str(one).split())
    assert words.startswith("toy 1 records correlation 0.50 the fastest is at 50% of the order")
    assert words.endswith("its first is 20% slower")


def test_too_few_timings_are_no_order():
    assert check([record([(1, 1.0), (2, 2.0)])]) == []
    assert report([]).startswith("No record has 3 timings")


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.999), (0.3, 0.8)])
def test_a_planted_cost_is_followed(toy, noise, least):
    """Times that are the model's own, with or without noise, through a search, to the correlation."""
    problem, rng = toy.Problem(100_000, False), random.Random(0)
    candidates = [toy.Toy(block) for block in range(20, 420, 10)]
    tunable = toy.make(f"toy.planted{noise}", candidates=lambda problem: candidates)
    planted = {c: predicted(tunable, problem, c) * math.exp(rng.gauss(0, noise)) for c in [toy.Toy(16), *candidates]}
    timer = FakeTimer(toy, planted.__getitem__)
    found = search(tunable, problem, tunable.example(problem, "cpu"), timer, 1e6)
    pairs = [(t.predicted, t.microseconds) for t in found.timings.values()]
    (one,) = check([record(pairs)])
    assert len(pairs) == 41 and one.correlation > least


def test_the_command(tmp_path, capsys):
    file = tmp_path / "timings.json"
    file.write_text(dumps([record([(1, 12.0), (2, 10.0), (3, 30.0)])]))
    assert main(["check", str(file)]) == 0
    assert "correlation  0.50" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["check", str(tmp_path / "absent.json")])
    assert "cannot be read" in capsys.readouterr().err
