"""A toy tunable, a clock that a test moves, and a database of the test's own."""

import importlib
import sys
from pathlib import Path

import pytest

from fastk import autotune, config
from fastk.autotune import database, shipped, space, tuner

HERE = Path(__file__).parent
GPU = "NVIDIA Test GPU"


class FakeTimer:
    """Each run takes what `cost` says of the configuration that it launches, and as long on the clock."""

    def __init__(self, toy, cost):
        self.toy, self.cost, self.time = toy, cost, 0.0

    def now(self):
        return self.time

    def round(self, runs):
        found = []
        for run in runs:
            run()
            microseconds = self.cost(self.toy.launched[-1])
            self.time += microseconds / 1e6
            found.append(microseconds)
        return found


@pytest.fixture
def toy(monkeypatch):
    """The module of the toy tunable, importable by name, forgotten afterwards."""
    monkeypatch.syspath_prepend(HERE)
    before = dict(space.TUNABLES)
    sys.modules.pop("toy_tunable", None)
    module = importlib.import_module("toy_tunable")
    yield module
    space.TUNABLES.clear()
    space.TUNABLES.update(before)
    sys.modules.pop("toy_tunable", None)
    space.resolve.cache_clear()
    space.fingerprint.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of its own for the database, and one for what is shipped; nothing is remembered of another one."""
    monkeypatch.setenv("FASTK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    before = config.autotune(), config.autotune_seconds()
    autotune.forget()
    yield tmp_path
    config.set_autotune(before[0])
    config.set_autotune_seconds(before[1])
    autotune.forget()
    database._database.cache_clear()


@pytest.fixture
def gpu(monkeypatch, cache, toy):
    """A machine with a GPU, whose times are planted: gpu(cost) sets them, by default those of `1 / block`."""
    monkeypatch.setattr(tuner, "device_name", lambda: GPU)
    monkeypatch.setattr(tuner.torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(tuner, "new_compiler", lambda: None)  # candidates are compiled where they run

    def plant(cost=lambda toy: 1e4 / toy.block):
        monkeypatch.setattr(tuner, "new_timer", lambda: FakeTimer(toy, cost))

    plant()
    return plant
