"""The harness that measures whole models: its schedule, its arithmetic, and what it says of rivals that fail."""

import sys
from argparse import Namespace

import pytest
import torch

import fastk
from bench.models import __main__ as command
from bench.models import providers, rounds
from bench.models.cases import CASES, steps_of
from bench.models.torch_models import MODELS, initialize

# Answers as a provider's process does: a line at its start, then one a command. Logs who was asked what.
WORKER = """
import json, sys
name, path, fails_at = sys.argv[1:4]
print(json.dumps({"parameters": 7, "device": "cpu", "peak_mb": 1.0}), flush=True)
for count, line in enumerate(sys.stdin):
    if str(count) == fails_at:
        sys.exit("the kernel is missing")
    with open(path, "a") as log:
        log.write(name + " " + line)
    seconds = {"fastk": 1.0, "slow": 3.0}[name]
    print(json.dumps({"seconds": seconds, "loss": 2.0, "idle": 1.0, "idle_cpu": 0.0, "peak_mb": 2.0}), flush=True)
"""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def fake(log):
    """Starts the process above; all are closed at the end."""
    workers = []

    def start(name, fails_at=-1):
        workers.append(rounds.Worker([sys.executable, "-c", WORKER, name, str(log), str(fails_at)], {}))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def test_rotation():
    assert [rounds.rotated("abc", i) for i in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rounds.rotated([], 3) == []


def test_summary_is_median_quartiles_and_median_ratio_of_neighbours():
    found = rounds.summary([2.0, 40.0, 6.0, 8.0, 4.0], [1.0, 10.0, 2.0, 8.0, 4.0])
    assert found == {"median": 6.0, "q1": 4.0, "q3": 8.0, "ratio": 2.0}  # ratios 2, 4, 3, 1, 1
    assert rounds.summary([5.0], None) == {"median": 5.0, "q1": 5.0, "q3": 5.0}


def test_losses_agree_within_the_noise_of_seeds():
    assert rounds.losses_agree([2.3, 2.0, 1.7], [2.3, 2.1, 1.8])
    assert not rounds.losses_agree([2.3, 2.3, 2.3], [2.0, 1.0, 0.5])
    assert not rounds.losses_agree([float("nan")] * 2, [2.0, 1.0])


def test_a_process_that_spins_is_found():
    def busy(seconds):
        return [{"train": {"idle": 1.0, "idle_cpu": seconds}}] * 2

    assert rounds.spins(busy(0.5))
    assert not rounds.spins(busy(0.01))


def test_processes_take_turns_in_an_order_that_rotates(fake, log):
    workers = {"fastk": fake("fastk"), "slow": fake("slow")}
    for worker in workers.values():
        worker.answer()
    answers, failed = rounds.take_turns(workers, 2)
    asked = log.read_text().split("\n")[len(rounds.WARM_UP) * 2 : -1]
    first = [f"{name} {measure}" for measure in rounds.MEASURES for name in ("fastk", "slow")]
    second = [f"{name} {measure}" for measure in rounds.MEASURES for name in ("slow", "fastk")]
    assert asked == first + second
    assert failed == {}
    assert [round["train"]["seconds"] for round in answers["slow"]] == [3.0, 3.0]


@pytest.mark.parametrize("fails_at", [0, 5])
def test_a_process_that_dies_is_left_out_with_its_last_words(fake, fails_at):
    workers = {"fastk": fake("fastk"), "slow": fake("slow", fails_at)}
    for worker in workers.values():
        worker.answer()
    answers, failed = rounds.take_turns(workers, 2)
    assert failed == {"slow": "the kernel is missing"}
    assert list(answers) == ["fastk"]


def test_a_process_that_does_not_answer_is_given_up(monkeypatch, fake):
    worker = rounds.Worker([sys.executable, "-c", "import time; time.sleep(60)"], {})
    monkeypatch.setattr(rounds, "SECONDS_TO_ANSWER", 0.05)
    with pytest.raises(rounds.WorkerError, match="no answer"):
        worker.answer()
    worker.close()


def test_rows_of_a_model(monkeypatch, fake, capsys):
    here, absent = providers.Provider(("torch",)), providers.Provider(("no_such_package",))
    monkeypatch.setattr(command, "PROVIDERS", {"fastk": here, "slow": here, "dies": here, "absent": absent})
    processes = {"fastk": ("fastk",), "slow": ("slow",), "dies": ("slow", 0)}
    monkeypatch.setattr(command, "start", lambda name, *rest: fake(*processes[name]))
    arguments = Namespace(providers=list(command.PROVIDERS), quick=True, rounds=3, threads=1, device="cpu")
    ours, slow, dies, missing = rows = command.measure("mlp", arguments, "")
    assert ours["train_us"]["median"] == pytest.approx(1e6 / ours["steps"])
    assert (ours["train_us"]["ratio"], slow["train_us"]["ratio"]) == (1.0, 3.0)
    assert slow["predict_one_us"]["median"] == pytest.approx(3e6)
    assert (slow["peak_mb_at_start"], slow["peak_mb"]) == (1.0, 2.0)
    assert dies["failed"] == "the kernel is missing"
    assert missing["failed"] == "not installed: no_such_package"
    assert "train_us" not in dies
    command.show(rows, 1)
    assert "the kernel is missing" in capsys.readouterr().out


def test_what_is_not_installed_is_said():
    assert providers.Provider(("no_such_package", "torch")).missing() == "not installed: no_such_package"
    assert providers.PROVIDERS["torch"].missing() is None


def test_another_model_prints_no_number():
    answers = {name: [{"train": {"loss": loss}}] * 3 for name, loss in {"a": 2.0, "b": 2.1, "c": 0.5, "d": 2.0}.items()}
    facts = {name: {"parameters": 8 if name == "d" else 7} for name in answers}
    wrong = command.unequal(answers, facts)
    assert sorted(wrong) == ["c", "d"]
    assert "8 parameters instead of 7" in wrong["d"]


@pytest.mark.parametrize("name", CASES)
def test_both_kinds_of_a_model_are_the_same_model(name):
    case = CASES[name]
    inputs, labels = case.data(1)
    model, rival = case.build(fastk), initialize(MODELS[name]())
    ours = sum(v.value.numel() for v in model.trainable_variables)
    assert sum(p.numel() for p in rival.parameters()) - case.unlike_torch == ours
    rows = [torch.from_numpy(x[:2]) for x in inputs]
    assert rival(*rows).shape == model(rows if len(rows) > 1 else rows[0]).shape == (2, 10)
    assert len(labels) == case.batch * 1
    assert steps_of(case, quick=True) < case.steps


def test_runners_train():
    for runner in (providers.PROVIDERS["fastk"].runner("mlp", 8), providers.PROVIDERS["torch"].runner("mlp", 8)):
        losses = [runner.train() for _ in range(4)]
        assert losses[-1] < losses[0]
        assert runner.parameters == 101_770
        assert runner.predict().shape == (256, 10)
        assert runner.predict_one().shape == (1, 10)
