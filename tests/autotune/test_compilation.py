"""The processes that compile candidates: what they answer, and what becomes of one that dies or is late."""

import json
import subprocess
import sys
import time

import pytest
import torch

from fastk import config
from fastk.autotune import Resources, worker
from fastk.autotune.compilation import Workers, pack, request

X = (torch.ones(4),)


@pytest.fixture
def workers():
    found = Workers(jobs=2)
    yield found
    found.close()


def test_each_candidate_gets_its_own_answer(toy, workers):
    problem = toy.Problem(1000, False)
    blocks = (32, 128, 256, 512, 64)
    found = dict(
        zip(blocks, workers.compile(toy.TOY, problem, X, [toy.Toy(block) for block in blocks], 60), strict=True)
    )
    assert found[32] == found[64] == Resources(32, 0, 0)
    assert found[512] == Resources(32, 8, 0)
    assert found[256] == "ValueError: no such instruction"
    assert found[128] == "the process that compiled it ended with status 3"


def test_what_is_late_is_said_to_be(toy, workers, monkeypatch):
    monkeypatch.setattr("fastk.autotune.compilation._start", lambda: _sleeper())
    start = time.monotonic()
    found = workers.compile(toy.TOY, toy.Problem(1000, False), X, [toy.Toy(32)] * 5, 0.2)
    assert time.monotonic() - start < 10
    assert len(found) == 5 and all("ended with status -9" in f or f == "not compiled in time" for f in found)
    assert "not compiled in time" in found


def _sleeper():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_worker_answers_in_lines(toy):
    import io

    answers = io.StringIO()
    asked = request(toy.TOY, toy.Problem(1000, False), pack(X), toy.Toy(32))
    worker.serve(io.StringIO(json.dumps(asked) + "\n"), answers)
    assert json.loads(answers.getvalue()) == {"registers": 32, "spill_bytes": 0, "shared_bytes": 0}


@pytest.mark.timeout(300)
def test_a_product_is_compiled_without_a_gpu():
    """In a process of its own: kernels are interpreted in this one."""
    triton = pytest.importorskip("triton")
    assert triton

    from fastk.kernels.dense.configurations import TUNABLE, GemmConfiguration, Product

    problem = Product(256, 256, 256, torch.bfloat16, "half", False, False, False, None, False, True, 90, 132)
    found = Workers(jobs=1)
    outcome, refused = found.compile(
        TUNABLE,
        problem,
        TUNABLE.example(problem, "meta"),
        [GemmConfiguration(64, 64, 64, 4, 4), GemmConfiguration(64, 64, 8, 4, 4)],
        200,
    )
    found.close()
    assert isinstance(outcome, Resources) and outcome.spill_bytes == 0
    assert 30 < outcome.registers < 255 and outcome.shared_bytes == 4 * (64 + 64) * 64 * 2
    assert isinstance(refused, str)
    assert config.float32_precision() == "tf32x3"
