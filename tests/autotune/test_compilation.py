"""The processes that compile candidates: what they answer, and what becomes of one that dies or is late."""

import json
import subprocess
import sys
import time

import pytest
import torch

from fastk.autotune import Resources, worker
from fastk.autotune.compilation import LATE, Workers, pack, request

X = (torch.ones(4),)


@pytest.fixture(scope="module")
def workers():
    """One process for the tests of this file, which the last one ends."""
    found = Workers(jobs=1)
    yield found
    found.close()


@pytest.mark.timeout(300)
def test_a_product_is_compiled_without_a_gpu(toy, workers):
    """In a process of its own: kernels are interpreted in this one."""
    pytest.importorskip("triton")
    from fastk.kernels.dense.configurations import TUNABLE, GemmConfiguration, Product

    problem = Product(256, 256, 256, torch.bfloat16, "half", False, False, False, None, False, True, 90, 132)
    tiles = [GemmConfiguration(64, 64, 64, 4, 4), GemmConfiguration(64, 64, 8, 4, 4)]
    good, refused = workers.compile(TUNABLE, problem, TUNABLE.example(problem, "meta"), tiles, 200)
    assert isinstance(good, Resources) and good.spill_bytes == 0
    assert 30 < good.registers < 255 and good.shared_bytes == 4 * (64 + 64) * 64 * 2
    assert isinstance(refused, str)


def test_each_candidate_gets_its_own_answer(toy, workers):
    blocks = (32, 256, 512, 64, 128)
    outcomes = workers.compile(toy.TOY, toy.Problem(1000, False), X, [toy.Toy(block) for block in blocks], 60)
    found = dict(zip(blocks, outcomes, strict=True))
    assert found[32] == found[64] == Resources(32, 0, 0)
    assert found[512] == Resources(32, 8, 0)
    assert found[256] == "ValueError: no such instruction"
    assert found[128] == "the process that compiled it ended with status 3" and not workers._idle


def test_what_is_late_is_said_to_be(toy, monkeypatch):
    monkeypatch.setattr("fastk.autotune.compilation._start", lambda: _python("import time; time.sleep(60)"))
    start = time.monotonic()
    found = Workers(jobs=2).compile(toy.TOY, toy.Problem(1000, False), X, [toy.Toy(32)] * 5, 0.2)
    assert time.monotonic() - start < 10
    assert found == [LATE] * 5


ANSWERS = """
import sys
for line in sys.stdin:
    print('{"registers": 1, "spill_bytes": 0, "shared_bytes": 0}', flush=True)
"""


def test_idle_workers_end(toy, monkeypatch):
    monkeypatch.setattr("fastk.autotune.compilation._start", lambda: _python(ANSWERS))
    workers = Workers(jobs=1, idle=0.1)
    workers.compile(toy.TOY, toy.Problem(1000, False), X, [toy.Toy(32)], 60)
    (process,) = workers._idle
    assert process.wait(timeout=10) == -9
    assert workers._lock.acquire(timeout=10) and not workers._idle


def _python(code):
    command = [sys.executable, "-S", "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_worker_answers_in_lines(toy):
    import io

    answers = io.StringIO()
    asked = request(toy.TOY, toy.Problem(1000, False), pack(X), toy.Toy(32))
    worker.serve(io.StringIO(json.dumps(asked) + "\n"), answers)
    assert json.loads(answers.getvalue()) == {"registers": 32, "spill_bytes": 0, "shared_bytes": 0}
