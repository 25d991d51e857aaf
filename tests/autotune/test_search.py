"""The search, with a clock and costs that the tests plant."""

import pytest
import torch

from fastk.autotune import Accuracy, Resources
from fastk.autotune.accuracy import why_inaccurate
from fastk.autotune.compilation import LATE
from fastk.autotune.search import ranked, search
from fastk.autotune.timing import race

from .conftest import FakeTimer


def run(toy, cost, tunable=None, seconds=1.0, **options):
    problem = toy.Problem(1000, False)
    tunable = tunable or toy.TOY
    timer = FakeTimer(toy, cost)
    return search(tunable, problem, (torch.arange(4.0),), timer, seconds, **options), timer


@pytest.mark.parametrize("optimum", [16, 32, 128, 1024])
def test_a_planted_optimum_is_found(toy, optimum):
    found, _ = run(toy, lambda c: 10.0 if c.block == optimum else 20.0 + c.block / 1000)
    assert found.best == toy.Toy(optimum)
    assert found.microseconds(found.best) == 10.0
    assert found.untried == 0


def test_what_does_not_run_is_counted(toy):
    found, _ = run(toy, lambda c: 10.0)
    assert found.failures == {"does not run": 1}
    assert found.reasons == ["Toy(block=2048, wrong=False): does not run: RuntimeError: out of resources"]


def test_a_wrong_result_is_rejected_however_fast(toy):
    wrong = toy.Toy(64, wrong=True)
    tunable = toy.make("toy.wrong", candidates=lambda problem: [toy.Toy(32), wrong])
    found, _ = run(toy, lambda c: 1.0 if c.wrong else 100.0 - c.block, tunable)
    assert found.best == toy.Toy(32) and wrong not in found.timings
    assert found.failures == {"inaccurate": 1} and "3 off where" in found.reasons[0]


def test_noise_does_not_replace_the_default(toy):
    found, _ = run(toy, lambda c: 100.0 if c.block == 16 else 99.0)
    assert found.best == toy.Toy(16)


def test_the_time_is_kept(toy):
    tunable = toy.make("toy.many", candidates=lambda problem: [toy.Toy(block) for block in range(17, 400)])
    found, timer = run(toy, lambda c: 1e5, tunable, seconds=5.0)
    one_batch = 0.1 * 9
    assert 5.0 <= timer.time <= 5.0 + one_batch
    assert found.untried == 383 - (len(found.timings) - 1) > 0


def test_starting_points_come_first(toy):
    candidates = [toy.Toy(block) for block in range(17, 200)]
    tunable = toy.make("toy.started", candidates=lambda problem: candidates)
    last, default = (c for _, c in ranked(tunable, toy.Problem(1000, False))[-2:])
    assert default == toy.Toy(16)
    found, _ = run(toy, lambda c: 1e5 if c != last else 1e3, tunable, seconds=0.5, first=[last])
    assert found.best == last
    found, _ = run(toy, lambda c: 1e5 if c != last else 1e3, tunable, seconds=0.5)
    assert found.best != last


def test_a_starting_point_that_is_invalid_here_is_left_out(toy):
    found, _ = run(toy, lambda c: 10.0, first=[toy.Toy(4096)])
    assert toy.Toy(4096) not in found.timings


def test_spills_and_failed_compilations_are_not_timed(toy):
    class Compiler:
        def compile(self, tunable, problem, arguments, candidates, seconds):
            outcomes = {32: Resources(255, 8, 0), 64: "PTXAS error"}
            return [outcomes.get(c.block, Resources(32, 0, 0)) for c in candidates]

    found, _ = run(toy, lambda c: c.block, compiler=Compiler())
    assert {c.block for c in found.timings} == {16, 128, 256, 512, 1024}
    assert found.failures == {"spills": 1, "does not compile": 1, "does not run": 1}


def test_what_was_not_compiled_in_time_is_untried(toy):
    class Compiler:
        def compile(self, tunable, problem, arguments, candidates, seconds):
            return [LATE if c.block == 32 else Resources(32, 0, 0) for c in candidates]

    found, _ = run(toy, lambda c: c.block, compiler=Compiler())
    assert found.untried == 1 and toy.Toy(32) not in found.timings
    assert found.failures == {"does not run": 1}


def test_without_a_compiler_for_the_architecture_candidates_are_compiled_where_they_run(toy):
    problem = toy.Problem(1000, False, architecture=89)

    class Compiler:
        def compile(self, tunable, problem, arguments, candidates, seconds):
            raise AssertionError("it cannot compile for sm_89")

    found = search(toy.TOY, problem, (torch.ones(4),), FakeTimer(toy, lambda c: c.block), 1.0, compiler=Compiler())
    assert len(found.timings) == 7


def test_arguments_that_are_written_to_are_copies(toy):
    tunable = toy.make("toy.in_place", launcher="toy_tunable:double_in_place", in_place=True)
    x = torch.arange(4.0)

    class Timer(FakeTimer):
        def round(self, runs):
            for each in runs:
                each()
            return [1.0] * len(runs)

    found = search(tunable, toy.Problem(100, False), (x,), Timer(toy, None), 1.0)
    assert torch.equal(x, torch.arange(4.0))
    assert not found.failures  # a copy that had been doubled already would differ


def test_the_ranking_is_by_the_model(toy):
    order = [c.block for _, c in ranked(toy.TOY, toy.Problem(10_000, False))]
    assert order == sorted(toy.BLOCKS, reverse=True)


def test_what_the_model_ranks_is_valid(toy):
    assert [c.block for _, c in ranked(toy.TOY, toy.Problem(16, False))] == [64, 32, 16]


def test_slow_runs_leave_the_race():
    counts = [0, 0, 0]

    class Timer:
        def now(self):
            return 0.0

        def round(self, runs):
            return [each() for each in runs]

    def runner(i, microseconds):
        def one():
            counts[i] += 1
            return microseconds

        return one

    samples = race([runner(0, 10.0), runner(1, 12.0), runner(2, 30.0)], Timer(), until=1.0)
    assert [len(s) for s in samples] == counts == [20, 8, 3]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (torch.tensor([1.0, 2.0]), None),
        (torch.tensor([1.0, 2.0 + 1e-7]), None),
        (torch.tensor([1.0, 2.01]), "off where"),
        (torch.tensor([1.0, float("nan")]), "infinite or NaN"),
        (torch.tensor([1.0]), "shapes"),
        ((torch.tensor([1.0, 2.0]), torch.tensor([3])), "shapes"),
    ],
)
def test_accuracy(found, words):
    said = why_inaccurate(found, torch.tensor([1.0, 2.0]), Accuracy())
    assert said is None if words is None else words in said


def test_accuracy_of_integers():
    assert why_inaccurate(torch.tensor([1, 2]), torch.tensor([1, 3]), Accuracy()) == "1 of 2 integers differ"


def test_longer_sums_may_differ_more():
    off = (torch.tensor([1.0 + 4e-6]), torch.tensor([1.0]))
    assert why_inaccurate(*off, Accuracy(length=4)) and not why_inaccurate(*off, Accuracy(length=4096))
