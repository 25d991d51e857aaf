"""The tuner on a GPU: real times, real compilations, captured graphs. Skipped where there is none."""

import pytest
import torch

from fastk import autograd, autotune, config, dispatch
from fastk.autotune import model, tuner
from fastk.autotune.database import default_database
from fastk.autotune.timing import CudaTimer, race

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


@pytest.fixture
def tuned(cache):
    config.set_autotune("on")
    config.set_autotune_seconds(5.0)
    dispatch._settled.clear()
    yield
    dispatch._settled.clear()


def gemm(size=512):
    from fastk.kernels.dense import configurations, triton_gemm

    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return configurations.TUNABLE, triton_gemm.gemm, a, b


def test_more_work_takes_longer():
    timer = CudaTimer()
    small, large = (torch.randn(n, n, device="cuda") for n in (256, 4096))
    runs = [lambda: small @ small, lambda: large @ large]
    for run in runs:
        run()
    one, other = race(runs, timer, timer.now() + 1.0)
    assert 0 < min(one) < min(other)


def test_a_product_is_tuned_at_its_first_use(tuned):
    tunable, launch, a, b = gemm()
    result = launch(a, b)[0]
    ((problem, decision),) = tunable.decided["on"].items()
    assert decision.origin == "measured"
    assert decision.record.microseconds <= decision.record.default_microseconds
    assert len(decision.record.timings) > 1
    # One rounding to bfloat16, and sums of as many products as a has columns in float32.
    rtol, atol = torch.finfo(torch.bfloat16).eps, torch.finfo(torch.float32).eps * a.size(1)
    torch.testing.assert_close(result.double(), a.double() @ b.double(), rtol=rtol, atol=atol)
    config.set_autotune("cached")
    autotune.forget()
    launch(a, b)
    assert tunable.decided["cached"][problem].origin == "database"


def test_what_workers_compile_is_what_runs(tuned):
    """The launch finds a candidate in Triton's cache: compiled by a worker, it is not compiled again."""
    tunable, launch, a, b = gemm(640)
    from triton import knobs

    compiled = []
    knobs.compilation.listener = lambda **said: compiled.append(said)
    try:
        launch(a, b)
    finally:
        knobs.compilation.listener = None
    (problem,) = tunable.decided["on"]
    if problem.architecture in model.RATES:
        hits = [said for said in compiled if said.get("cache_hit")]
        assert len(hits) >= len(compiled) - 1  # but for the default


def test_a_graph_is_captured_without_tuning(tuned):
    tunable, launch, a, b = gemm(384)
    config.set_autotune("cached")
    launch(a, b)  # compiled, so that nothing is loaded inside the capture
    config.set_autotune("on")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch(a, b)
    assert not tunable.decided["on"]
    graph.replay()
    torch.cuda.synchronize()
    launch(a, b)
    assert next(iter(tunable.decided["on"].values())).origin == "measured"


def test_the_vendor_is_measured(tuned):
    x, kernel = (torch.randn(512, 512, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    autograd.dense(x, kernel)
    choice = dispatch.last_choices()["dense"]
    assert choice.reason.startswith("measured") and choice.implementation in ("triton", "aten")
    assert any(name.startswith("dense.implementation") for name in default_database().records())


def test_the_name_of_the_device():
    assert tuner.device_name() == torch.cuda.get_device_name()
