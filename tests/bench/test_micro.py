"""Small calls, timed by pytest-benchmark:

    pytest tests/bench/test_micro.py --benchmark-only

The test command runs each once, untimed.
"""

import numpy as np
import pytest
import torch

import fastk
from fastk import autograd, dispatch, layers
from fastk.bench.ops.cases import Maker, cases
from fastk.bench.ops.providers import contender

pytest.importorskip("pytest_benchmark")

SMALL = {case.op: case for case in reversed(list(cases())) if "cpu" in case.devices}
OPS = ("dense", "lstm", "layer_norm", "softmax_cross_entropy", "dropout", "adam")


@pytest.mark.parametrize("provider", ["fastk", "torch"])
@pytest.mark.parametrize("op", OPS)
def test_op(benchmark, op, provider):
    case = SMALL[op]
    one = contender(provider, case, case.make(Maker("cpu", torch.float32)), None)
    benchmark(one.forward)


def test_dispatch(benchmark):
    x = torch.ones(1)
    assert benchmark(lambda: dispatch.choose("dense", "auto", x)).implementation == "aten"


def test_overhead_of_dense(benchmark):
    x, kernel, bias = torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1)
    assert float(benchmark(lambda: autograd.dense(x, kernel, bias))) == 1.0


@pytest.fixture
def model():
    built = fastk.Sequential([layers.Input((784,)), layers.Dense(128, activation="relu"), layers.Dense(10)])
    built.compile("adam", fastk.losses.SparseCategoricalCrossentropy(from_logits=True))
    return built


def test_train_on_batch(benchmark, model, rng):
    x, y = rng.random((32, 784), dtype=np.float32), rng.integers(0, 10, 32)
    assert benchmark(lambda: model.train_on_batch(x, y)) > 0


def test_predict_one_row(benchmark, model, rng):
    x = rng.random((1, 784), dtype=np.float32)
    assert benchmark(lambda: model.predict(x, verbose=0)).shape == (1, 10)


def test_call(benchmark, model):
    x = torch.ones(1, 784)
    assert benchmark(lambda: model(x)).shape == (1, 10)
