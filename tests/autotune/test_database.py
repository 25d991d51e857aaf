"""The file of measurements: what a miss is, and what processes beside each other and a kill leave of it."""

import json
import multiprocessing
import os
import time
import warnings
from dataclasses import replace

import pytest

from fastk.autotune import space
from fastk.autotune.database import SCHEMA, Database, Key, Record, dumps, loads

KEY = Key("toy", {"size": 1024, "flag": False}, "NVIDIA Test GPU", "3.9.0", "abc")


def record(key=KEY, block=64):
    return Record(key, {"kind": "Toy", "block": block, "wrong": False}, 10.0, 12.5)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "autotune.json"


def test_what_was_put_is_there(file):
    assert Database(file).get(KEY) is None
    Database(file).put(record())
    assert Database(file).get(KEY) == record()
    assert json.loads(file.read_text())["schema"] == SCHEMA


def test_an_open_database_sees_what_another_one_writes(file):
    database = Database(file)
    assert database.get(KEY) is None
    Database(file).put(record())
    assert database.get(KEY) == record()
    Database(file).put(record(block=128))
    assert database.get(KEY) == record(block=128)


def test_two_databases_keep_both_records(file):
    one, two = Database(file), Database(file)
    other = replace(KEY, problem={"size": 2048, "flag": False})
    assert not one.records() and not two.records()
    one.put(record())
    two.put(record(other))
    assert set(Database(file).records()) == {KEY.text, other.text}


@pytest.mark.parametrize(
    "change",
    [
        {"triton": "3.10.0"},
        {"source": "abd"},
        {"device": "NVIDIA Test GPU 2"},
        {"tunable": "toy2"},
        {"problem": {"size": 1024, "flag": True}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_in_a_key_is_a_miss(file, change):
    Database(file).put(record())
    assert Database(file).get(replace(KEY, **change)) is None


def test_the_key_names_no_tuned_value(toy):
    one = Key.of(toy.TOY, toy.Problem(1000, False), "GPU").text
    assert "block" not in one and "size=1024" in one


def test_the_sources_of_the_kernels_are_in_the_key(tmp_path, monkeypatch):
    package = "kernels_of_test"
    files = {
        "__init__.py": "",
        "triton_shared.py": "x = 1",
        "triton_other.py": "x = 1",
        "one/__init__.py": "",
        "one/triton_kernels.py": f"from {package} import triton_shared\nfrom {package}.two.triton_parts import x",
        "one/configurations.py": "x = 1",
        "two/__init__.py": "",
        "two/triton_parts.py": f"from {package}.one.configurations import x",
    }
    for name, text in files.items():
        (tmp_path / package / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def after_a_change_of(name):
        (tmp_path / package / name).write_text(files[name] + "\ny = 2")
        space.fingerprint.cache_clear()
        found = space.fingerprint(f"{package}.one.triton_kernels")
        (tmp_path / package / name).write_text(files[name])
        space.fingerprint.cache_clear()
        return found

    before = space.fingerprint(f"{package}.one.triton_kernels")
    changing = {name for name in files if after_a_change_of(name) != before}
    assert changing == {"one/triton_kernels.py", "two/triton_parts.py", "triton_shared.py"}
    with pytest.raises(ModuleNotFoundError, match="in no module"):
        space.fingerprint(f"{package}.absent")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 0, "entries": {}}',
        '{"schema": 1}',
        '{"schema": 1, "entries": {"a": 3}}',
        '{"schema": 1, "entries": {"a": {"key": {}}}}',
        '{"schema": 1, "entries": []}',
        "\udcff".encode("utf-8", "surrogateescape"),
    ],
    ids=range(8),
)
def test_a_file_that_cannot_be_read_is_a_miss_with_one_warning(file, text):
    file.parent.mkdir()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    database = Database(file)
    with pytest.warns(UserWarning, match="cannot be read and counts as empty"):
        assert database.get(KEY) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        os.utime(file, (1, 1))
        assert database.get(KEY) is None
        database.put(record())
    assert Database(file).get(KEY) == record()
    assert file.with_suffix(".corrupt").read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_clear(file):
    database = Database(file)
    database.put(record())
    assert database.clear() == 1
    assert not Database(file).records()


def test_the_text_of_a_file_is_read_back():
    other = record(replace(KEY, problem={"size": 1, "flag": True}))
    assert loads(dumps([other, record()])) == {KEY.text: record(), other.key.text: other}
    assert loads(dumps([])) == {}


def write(file, name, count):
    """What a process beside the test does."""
    database = Database(file)
    for i in range(count):
        key = replace(KEY, tunable=name, problem={"size": i})
        database.put(Record(key, {"kind": "Toy", "block": i, "wrong": False}, 1.0, 1.0, failures={"x" * 2000: 1}))


def start(file, name, count):
    process = multiprocessing.get_context("fork").Process(target=write, args=(file, name, count))
    process.start()
    return process


def test_a_kill_while_writing_loses_nothing(file):
    Database(file).put(record())
    process = start(file, "killed", 100_000)
    before = 1
    while before < 5:
        before = len(Database(file).records())
        time.sleep(0.005)
    process.kill()
    process.join()
    records = Database(file).records()
    assert len(records) >= before and records[KEY.text] == record()
    Database(file).put(record(replace(KEY, device="another")))  # the lock went with the process
    assert len(Database(file).records()) == len(records) + 1


def test_two_processes_write_and_none_is_lost(file):
    processes = [start(file, name, 20) for name in ("one", "two")]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(Database(file).records()) == 40
