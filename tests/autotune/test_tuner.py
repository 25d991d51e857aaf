"""What a launcher is answered: by mode, from the database, shipped winners and a search, and what that costs."""

import importlib
import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastk import autotune, config
from fastk.autotune import shipped, space, tuner
from fastk.autotune.database import Key, Record, default_database, dumps, loads
from fastk.autotune.search import Result, Timing
from fastk.autotune.space import to_data
from fastk.errors import ConfigurationError

from .conftest import GPU, HERE

ROOT = HERE.parents[1]
X = (torch.arange(4.0),)


def measured(toy, block=128, size=1000, **changes):
    key = Key.of(toy.TOY, toy.Problem(size, False), GPU)
    return Record(Key(**{**vars(key), **changes}), to_data(toy.Toy(block)), 10.0, 20.0)


def ask(toy, size=1000):
    return autotune.decision_for(toy.TOY, toy.Problem(size, False), X)


def test_the_mode_of_the_environment(monkeypatch):
    assert config.read_environment("FASTK_AUTOTUNE", {}) == "cached"
    with pytest.raises(ConfigurationError, match="FASTK_AUTOTUNE is 'yes': expected one of off, cached, on"):
        config.read_environment("FASTK_AUTOTUNE", {"FASTK_AUTOTUNE": "yes"})
    with pytest.raises(ConfigurationError, match="FASTK_AUTOTUNE_SECONDS is '0': expected a positive"):
        config.read_environment("FASTK_AUTOTUNE_SECONDS", {"FASTK_AUTOTUNE_SECONDS": "0"})
    with pytest.raises(ValueError, match="Unknown `autotune` value: 'yes'"):
        config.set_autotune("yes")
    with pytest.raises(ValueError, match="positive and finite"):
        config.set_autotune_seconds(float("inf"))


def test_the_folder_of_the_cache(monkeypatch):
    monkeypatch.setenv("FASTK_CACHE", "/a/b")
    assert config.cache_folder() == Path("/a/b")
    monkeypatch.setenv("FASTK_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert config.cache_folder() == Path("/c/fastk")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert config.cache_folder() == Path.home() / ".cache" / "fastk"


def test_without_a_gpu_it_is_the_default(toy, cache):
    config.set_autotune("on")
    assert ask(toy) == autotune.Decision(toy.Toy(16), "default")
    assert not (cache / "cache").exists()


def test_cached_never_measures(toy, gpu):
    config.set_autotune("cached")
    assert ask(toy).origin == "default" and not toy.launched
    default_database().put(measured(toy))
    assert ask(toy, 1001) == autotune.Decision(toy.Toy(128), "database", measured(toy))  # of the same bucket
    assert ask(toy).origin == "default"  # decided above, and remembered
    autotune.forget()
    assert ask(toy).configuration == toy.Toy(128)


def test_off_reads_nothing(toy, gpu):
    default_database().put(measured(toy))
    config.set_autotune("off")
    assert ask(toy) == autotune.Decision(toy.Toy(16), "default")


def test_on_measures_once_and_keeps_it(toy, gpu):
    config.set_autotune("on")
    first = ask(toy)
    assert (first.configuration, first.origin) == (toy.Toy(1024), "measured")
    assert ask(toy) is first
    autotune.forget()
    toy.launched.clear()
    again = ask(toy)
    assert (again.configuration, again.origin) == (toy.Toy(1024), "database") and not toy.launched
    record = again.record
    assert record is not None
    assert record.microseconds < record.default_microseconds == 1e4 / 16
    assert record.failures == {"does not run": 1} and len(record.timings) == 7
    assert all(timing["predicted"] > 0 for timing in record.timings)


def test_what_is_invalid_for_this_size_is_not_taken(toy, gpu):
    key = Key.of(toy.TOY, toy.Problem(17, False), GPU)
    default_database().put(Record(key, to_data(toy.Toy(80)), 1.0, 2.0))
    assert ask(toy, 24).configuration == toy.Toy(80)
    assert ask(toy, 17).configuration == toy.Toy(16)  # of the same bucket, and 80 is more than four times 17


@pytest.mark.parametrize("data", [{"kind": "Gone"}, {"kind": "Toy", "blocks": 3}, {}])
def test_configurations_of_another_version_are_a_miss(toy, gpu, data):
    key = Key.of(toy.TOY, toy.Problem(1000, False), GPU)
    default_database().put(Record(key, data, 1.0, 2.0))
    assert ask(toy).origin == "default"


@pytest.mark.parametrize("change", [{"triton": "0"}, {"source": "0"}, {"device": "other"}])
def test_a_measurement_of_something_else_is_a_miss(toy, gpu, change):
    default_database().put(measured(toy, **change))
    assert ask(toy).origin == "default"


def test_shipped_winners_are_used_on_their_gpu_whatever_the_triton(toy, gpu):
    path = shipped.FOLDER / shipped.file_name(GPU)
    path.write_text(dumps([measured(toy, triton="0")]))
    assert ask(toy) == autotune.Decision(toy.Toy(128), "shipped", measured(toy, triton="0"))
    default_database().put(measured(toy, block=256))
    autotune.forget()
    assert ask(toy).configuration == toy.Toy(256)  # what this machine measured comes first


def test_shipped_winners_of_other_sources_are_not_used(toy, gpu):
    (shipped.FOLDER / shipped.file_name(GPU)).write_text(dumps([measured(toy, source="0")]))
    assert ask(toy).origin == "default"


def test_shipped_winners_of_the_architecture_are_where_a_search_starts(toy, gpu, monkeypatch):
    winner = measured(toy, device="NVIDIA Sibling")
    winner.key.problem["sm_count"] = 100
    (shipped.FOLDER / "nvidia-sibling.json").write_text(dumps([winner]))
    assert ask(toy).origin == "default"
    started = []

    def found(*arguments):
        started.extend(arguments[5])
        return Result(toy.Toy(16), {toy.Toy(16): Timing(toy.Toy(16), 1.0, 1.0)})

    monkeypatch.setattr(tuner, "search", found)
    config.set_autotune("on")
    ask(toy)
    assert started == [toy.Toy(128)]


def faults(record):
    """What is wrong with a record that is to be shipped."""
    tunable = space.TUNABLES.get(record.key.tunable)
    if tunable is None:
        return f"there is no {record.key.tunable}"
    if record.key.source != space.fingerprint(tunable.module):
        return "the kernels have changed since"
    problem = space.problem_from_data(tunable, record.key.problem)
    configuration = tunable.configuration_from(record.configuration)
    if configuration is None or tunable.why_invalid(configuration, problem) is not None:
        return f"{record.configuration} is no configuration of it"
    return None if len(record.timings) > 1 else "nothing was measured beside it"


def test_what_is_shipped_is_of_these_kernels(toy):
    """Nothing was measured yet, so the folder may well be empty: what is in it has to be a measurement."""
    importlib.import_module("fastk.tune")._load_all()
    good = replace(measured(toy), timings=[{}, {}])
    assert faults(good) is None
    assert faults(measured(toy)) == "nothing was measured beside it"
    assert faults(replace(good, configuration={"kind": "Toy", "block": 8192})) == (
        "{'kind': 'Toy', 'block': 8192} is no configuration of it"
    )
    assert faults(replace(good, key=replace(good.key, source="0"))) == "the kernels have changed since"
    for path in (ROOT / "autotune" / "shipped").glob("*.json"):
        records = loads(path.read_text(encoding="utf-8")).values()
        assert not {record.key.text: faults(record) for record in records if faults(record)}
        assert {shipped.file_name(record.key.device) for record in records} == {path.name}


def test_inside_a_capture_nothing_is_measured(toy, gpu, monkeypatch, caplog):
    config.set_autotune("on")
    caplog.set_level("INFO", "fastk")
    monkeypatch.setattr(tuner.torch.cuda, "is_current_stream_capturing", lambda: True)
    assert ask(toy).origin == ask(toy).origin == "default" and not toy.launched
    assert [record.message for record in caplog.records] == [
        "toy is captured in a CUDA graph before it was tuned: it runs by its default."
    ]
    monkeypatch.setattr(tuner.torch.cuda, "is_current_stream_capturing", lambda: False)
    assert ask(toy).origin == "measured"  # the default was not remembered


def test_threads_tune_once(toy, gpu):
    config.set_autotune("on")
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask(toy))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(decision) for decision in found}) == 1


def tune(toy, results, barrier):
    """What a process beside the test does."""

    class Timer:
        def now(self):
            return 0.0

        def round(self, runs):
            for run in runs:
                run()
            time.sleep(0.01)
            return [1e4 / c.block for c in toy.launched[-len(runs) :]]

    tuner.new_timer = Timer
    barrier.wait()
    decision = ask(toy)
    results.put((decision.origin, decision.configuration.block))


def test_two_processes_tune_once(toy, gpu):
    config.set_autotune("on")
    context = multiprocessing.get_context("fork")
    results, barrier = context.Queue(), context.Barrier(2)
    processes = [context.Process(target=tune, args=(toy, results, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    assert found == [("database", 1024), ("measured", 1024)]


def test_a_hit_costs_less_than_two_microseconds(toy, gpu):
    config.set_autotune("cached")
    default_database().put(measured(toy))
    ask(toy)
    count, best = 2000, 1.0
    for _ in range(20):  # the best of several: other processes share the machine
        start = time.perf_counter()
        for _ in range(count):
            autotune.configuration_for(toy.TOY, toy.Problem(1000, False), X)
        best = min(best, (time.perf_counter() - start) / count)
    assert best < 2e-6


def test_progress_is_told_when_it_takes_long(capsys):
    with tuner._Progress("fastk: tuning x", patience=0.2) as say:
        say("too early")
        time.sleep(0.3)
        say("too soon after the first line")
        time.sleep(0.25)
        say("8 measured")
    told = capsys.readouterr().err.splitlines()
    assert told == ["fastk: tuning x: compiling", "fastk: tuning x: 8 measured"]
    with tuner._Progress("fastk: tuning x", patience=0.1):
        pass
    time.sleep(0.15)
    assert not capsys.readouterr().err


def test_progress_names_the_problem(toy):
    assert tuner._words(toy.Problem(1000, True)) == "size=1000"


def test_names_are_unique(toy):
    with pytest.raises(ValueError, match="Two tunables are called 'toy'"):
        toy.make("toy")


def test_problems_are_written_down_and_read(toy):
    problem = toy.Problem(1000, True)
    assert space.problem_from_data(toy.TOY, space.problem_to_data(problem)) == problem
    with pytest.raises(ValueError, match="A problem of toy has the fields size, flag, architecture, sm_count"):
        space.problem_from_data(toy.TOY, {"sizes": 3})
