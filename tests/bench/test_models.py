"""The harness that measures whole models: its schedule, its arithmetic, and what it says of rivals that fail."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
import torch

import fastk
from fastk.bench import results, turns
from fastk.bench.models import measure as models
from fastk.bench.models import providers, rounds
from fastk.bench.models.worker import runners
from fastk.bench.models.worker.cases import CASES, steps_of
from fastk.bench.models.worker.torch_models import MODELS, initialize

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
    assert [turns.rotated("abc", i) for i in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert turns.rotated([], 3) == []


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


def test_rows_of_a_model(monkeypatch, fake):
    class Fake(providers.Provider):
        def command(self, model, steps, threads):
            return list(self.needs)

    here = {"fastk": ("fastk",), "slow": ("slow",), "dies": ("slow", 0)}
    known = {name: Fake((name,)) for name in here} | {"absent": providers.Provider(("no_such_package",))}
    monkeypatch.setattr(Fake, "missing", lambda self: None)
    monkeypatch.setattr(models, "PROVIDERS", known)
    monkeypatch.setattr(models, "Worker", lambda command, environment: fake(*here[command[0]]))
    rows = models.measure("mlp", models.Options(list(known), 1, 3, True, "cpu", ""))
    found = {(row["provider"], row["measure"]): row for row in rows}
    ours, slow = found["fastk", "fit"], found["slow", "fit"]
    assert ours["ms"]["p50"] == pytest.approx(1e3 / ours["steps"])
    assert (ours["times_fastk"], slow["times_fastk"]) == (1.0, 3.0)
    assert (ours["best_rival"], ours["best_rival_percent"]) == ("slow", 300.0)
    assert found["slow", "one row"]["ms"]["p50"] == pytest.approx(3e3)
    assert (slow["peak_mb_at_start"], slow["peak_mb"], slow["loss"]) == (1.0, 2.0, 2.0)
    assert found["dies", "fit"]["failed"] == "the kernel is missing"
    assert found["absent", "fit"]["failed"] == "not installed: no_such_package"
    assert ("dies", "predict") not in found and "ms" not in found["dies", "fit"]
    assert "the kernel is missing" in "\n".join(models.table(rows, 1))


def test_what_is_not_installed_is_said():
    assert providers.Provider(("no_such_package", "torch")).missing() == "not installed: no_such_package"
    assert providers.PROVIDERS["torch"].missing() is None


def test_another_model_prints_no_number():
    answers = {name: [{"train": {"loss": loss}}] * 3 for name, loss in {"a": 2.0, "b": 2.1, "c": 0.5, "d": 2.0}.items()}
    facts = {name: {"parameters": 8 if name == "d" else 7} for name in answers}
    wrong = models.unequal(answers, facts)
    assert sorted(wrong) == ["c", "d"]
    assert "8 parameters instead of 7" in wrong["d"]


@pytest.mark.parametrize("name", CASES)
def test_both_kinds_of_a_model_are_the_same_model(name):
    case = CASES[name]
    small = dataclasses.replace(case, batch=2)
    inputs, labels = small.data(1)
    model, rival = case.build(fastk), initialize(MODELS[name]())
    ours = sum(v.value.numel() for v in model.trainable_variables)
    assert sum(p.numel() for p in rival.parameters()) - case.unlike_torch == ours
    classes = {"resnet50": 1000, "lstm_lm": 10_000}.get(name, 10)
    assert model.output_shape == (None, *labels.shape[1:], classes)
    rows = [torch.from_numpy(x if name != "resnet50" else x[:, :32, :32].copy()) for x in inputs]
    assert rival(*rows).shape == (*labels.shape, classes)
    assert labels.min() >= 0 and labels.max() < classes
    assert steps_of(case, quick=True) < case.steps


def test_resnet50_is_the_one_that_is_known():
    assert sum(p.numel() for p in MODELS["resnet50"]().parameters()) == 25_557_032  # as torchvision's


def test_data_can_be_learnt():
    (words,), following = dataclasses.replace(CASES["lstm_lm"], batch=300).data(1)
    assert (words[:, 1:] == following[:, :-1]).all()
    pairs = {}
    for word, after in zip(words.ravel(), following.ravel(), strict=True):
        pairs.setdefault(word, []).append(after)
    often = [after for after in pairs.values() if len(after) > 2]
    assert sum(len(set(after)) < len(after) for after in often) > 0.8 * len(often)  # most have a usual follower


@pytest.mark.parametrize("name", ["transformer", "lstm_lm"])
def test_models_of_tokens_train(name, monkeypatch):
    monkeypatch.setitem(runners.CASES, name, dataclasses.replace(CASES[name], batch=2))
    for keras in ("fastk", None):
        runner = runners.make(name, 1, keras, None, False)
        assert 0 < runner.train() < 15
        assert runner.predict().shape[0] == 2


def test_mixed_precision_reaches_both(monkeypatch):
    monkeypatch.setitem(runners.CASES, "mlp", dataclasses.replace(CASES["mlp"], policy="mixed_bfloat16"))
    try:
        ours = runners.KerasRunner(fastk, None, "mlp", 2)
        assert ours.model.layers[0].compute_dtype == "bfloat16"
        assert runners.make("mlp", 2, None, None, False).train() == pytest.approx(ours.train(), abs=0.5)
    finally:
        fastk.mixed_precision.set_global_policy("float32")


def test_a_process_of_a_provider_answers_and_does_without_what_it_does_not_need(tmp_path):
    provider = providers.PROVIDERS["fastk"]
    worker = rounds.Worker(provider.command("mlp", 2, 1), provider.environment(1, "cpu", str(tmp_path)))
    try:
        facts = worker.answer()
        assert (facts["parameters"], facts["device"]) == (101_770, "cpu")
        assert worker.ask("train")["seconds"] > 0
    finally:
        worker.close()
    code = "import sys, worker.runners; sys.exit('torch' in sys.modules)"  # nor would a process of JAX have torch
    done = subprocess.run([sys.executable, "-P", "-c", code], env=provider.environment(1, "cpu", str(tmp_path)))
    assert done.returncode == 0


def test_a_model_of_keras_is_accelerated(monkeypatch):
    accelerated = []
    module = type("Inside", (), {"accelerate": staticmethod(accelerated.append)})
    monkeypatch.setattr(runners.importlib, "import_module", {"fastk": fastk, "fastk.integrations.keras": module}.get)
    runner: Any = runners.make("mlp", 2, "fastk", None, False, accelerated=True)
    assert accelerated == [runner.model]
    asked, plain = (
        json.loads(providers.PROVIDERS[p].command("mlp", 2, 1)[-1]) for p in ("fastk-in-keras", "keras-torch")
    )
    assert asked["accelerated"] and not plain["accelerated"]
    assert results.ours("fastk-in-keras")


def test_runners_train():
    ours, torch, inside = (
        runners.make("mlp", 8, keras, None, False, inside)
        for keras, inside in (("fastk", False), (None, False), (None, True))
    )
    for runner in (ours, torch, inside):
        losses = [runner.train() for _ in range(4)]
        assert losses[-1] < losses[0]
        assert runner.parameters == 101_770
        assert runner.predict().shape == (256, 10)
        assert runner.predict_one().shape == (1, 10)
