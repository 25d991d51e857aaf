"""The harness that measures ops: every rival computes the op, the gate refuses what is wrong, rows add up."""

import time

import pytest
import torch

from fastk.bench.ops import clock, measure, roofline
from fastk.bench.ops import providers as provider_module
from fastk.bench.ops.cases import RATE, Case, Maker, cases
from fastk.bench.ops.gate import Gate
from fastk.bench.ops.providers import PROVIDERS, NotHere, contender, takes_part
from fastk.bench.ops.rivals import Rival

CPU = [case for case in cases() if "cpu" in case.devices]
SMALLEST = {case.op: case for case in reversed(CPU)}  # the first of each op
LIMITS = roofline.Roofline(10.0, {"float32": 0.1})


def options(*names, **others):
    return measure.Options("cpu", names, rounds=3, seconds=0.0, **others)


def test_all_ops_have_cases_with_names_of_their_own():
    names = [str(case) for case in cases()]
    assert len(set(names)) == len(names)
    assert {"dense", "conv2d", "lstm", "gru", "adam", "batch_norm", "softmax_cross_entropy"} <= set(SMALLEST)
    assert all(case.rivals["torch"] for case in cases())


@pytest.mark.parametrize("case", [SMALLEST[op] for op in SMALLEST] + [c for c in CPU if c.rate], ids=str)
def test_fastk_and_torch_pass_the_gate(case):
    rows = measure.measure(case, torch.float32, options("fastk", "fastk-aten", "torch"), clock.CpuClock(), LIMITS)
    ways = {"forward"} if case.results else {"forward", "forward+backward"}
    assert [(row["provider"], row["measure"]) for row in rows if "failed" in row] == []
    assert {(row["provider"], row["measure"]) for row in rows} == {
        (provider, way) for provider in ("fastk", "fastk-aten", "torch") for way in ways
    }
    for row in rows:
        assert row["ms"]["samples"] == clock.FEWEST and 0 < row["ms"]["p20"] <= row["ms"]["p50"] <= row["ms"]["p80"]
        assert row["gbs"] == pytest.approx(row["bytes"] / row["ms"]["p50"] / 1e6)
    assert {row.get("ran") for row in rows if row["provider"] == "fastk"} == {"aten"}


@pytest.mark.parametrize("case", [c for c in CPU if "library" in c.rivals or "floor" in c.rivals][:2], ids=str)
def test_the_library_is_checked_and_the_floor_is_no_rival(case):
    rows = measure.measure(case, torch.float32, options("fastk", "torch", "library", "floor"), clock.CpuClock(), LIMITS)
    found = {(row["provider"], row["measure"]): row for row in rows}
    assert "ms" in found["floor", "forward"] and ("floor", "forward+backward") not in found
    assert "roofline_percent" not in found["floor", "forward"]  # it does less
    assert found["fastk", "forward"]["best_rival"] in ("torch", "library")


def product(call) -> Case:
    """A product as an op, with a call of fastk's that may be wrong."""
    return Case(
        "dense",
        "3x4x5",
        "a test",
        lambda make: (make.normal(3, 4), make.normal(4, 5)),
        call,
        {"torch": Rival(lambda x, w: x @ w)},
        flops=120,
    )


WRONG = {
    "the result": lambda x, w, implementation: x @ w + 1e-4,
    "a gradient": lambda x, w, implementation: x @ w + 1e-3 * (x - x.detach()).sum(),
    "NaN": lambda x, w, implementation: x @ w * float("nan"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_prints_no_number(what):
    right = product(lambda x, w, implementation: x @ w)
    for case, passes in ((right, True), (product(WRONG[what]), False)):
        rows = measure.measure(case, torch.float32, options("fastk", "torch"), clock.CpuClock(), LIMITS)
        ours = [row for row in rows if row["provider"] == "fastk"]
        assert all(("ms" in row) is passes for row in ours)
        if not passes:
            assert ours[0]["failed"].startswith("wrong: relative errors")
            assert not any("best_rival_percent" in row for row in ours)


def test_a_provider_that_raises_is_a_line():
    def fails(x, w, implementation):
        if implementation == "auto":
            raise RuntimeError("no such kernel\nand more")
        return x @ w

    rows = measure.measure(product(fails), torch.float32, options("fastk", "torch"), clock.CpuClock(), LIMITS)
    assert [row["failed"] for row in rows if row["provider"] == "fastk"] == ["RuntimeError: no such kernel"]
    assert sum("ms" in row for row in rows) == 2
    assert any("no such kernel" in line for line in measure.table(rows))


def test_where_torch_itself_is_wrong_nothing_is_judged():
    case = product(lambda x, w, implementation: x @ w)
    torch_fails = Rival(lambda x, w: (x @ w) * (2.0 if x.dtype == torch.float32 else 1.0))
    case.rivals["torch"] = torch_fails
    rows = measure.measure(case, torch.float32, options("fastk", "torch"), clock.CpuClock(), LIMITS)
    assert all("nothing can be judged" in row["failed"] for row in rows)


def test_dropout_that_keeps_too_much_is_refused():
    case = next(case for case in CPU if case.op == "dropout")
    inputs = case.make(Maker("cpu", torch.float32))
    gate = Gate(case, inputs, torch.ones_like(inputs[0]))
    with pytest.raises(ValueError, match="kept a share"):
        gate.errors((inputs[0] / (1 - RATE), torch.ones_like(inputs[0])))


def test_operands_are_never_written_to():
    case = SMALLEST["adam"]
    inputs = case.make(Maker("cpu", torch.float32))
    before = [x.clone() for x in inputs]
    for name in ("fastk", "torch"):
        contender(name, case, inputs, None).forward()
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


@pytest.mark.parametrize("name", ["fastk-cupy", "jax", "library"])
def test_who_is_not_here_says_why(name, monkeypatch):
    monkeypatch.setattr(provider_module.importlib.util, "find_spec", lambda name: None)
    case = SMALLEST["conv2d"]
    inputs = case.make(Maker("cpu", torch.float32))
    with pytest.raises(NotHere, match=r"CUDA|cuda|not installed"):
        contender(name, case, inputs, None)


def test_providers_without_such_a_call_have_no_line():
    assert [name for name in PROVIDERS if not takes_part(name, SMALLEST["adam"])] == [
        "torch.compile",
        "library",
        "jax",
        "floor",
    ]


def test_work_is_counted_once_each():
    case = SMALLEST["max_pool2d"]
    (x,) = inputs = case.make(Maker("cpu", torch.float32))
    assert measure._work(case, inputs, "forward")["bytes"] == x.numel() * 4 * 5 // 4
    assert measure._work(case, inputs, "forward+backward")["bytes"] == x.numel() * (5 + 5)  # reads g, writes dx
    adam = SMALLEST["adam"]
    operands = adam.make(Maker("cpu", torch.float32))
    assert measure._work(adam, operands, "forward")["bytes"] == 28 * 101_770
    dense = SMALLEST["dense"]
    operands = dense.make(Maker("cpu", torch.float32))
    assert measure._work(dense, operands, "forward+backward")["flops"] == 3 * 2 * 32 * 784 * 128


def test_roofline_is_the_longer_of_products_and_bytes():
    assert LIMITS.milliseconds(10**9, 10**6, "float32") == pytest.approx(10.0)
    assert LIMITS.milliseconds(10**6, 10**9, "float32") == pytest.approx(100.0)
    assert LIMITS.milliseconds(10**9, 10**9, "bfloat16") == pytest.approx(100.0)  # no product was measured
    assert LIMITS.milliseconds(0, None, "float32") is None  # warm caches, no products: nothing bounds it


def test_roofline_is_measured(monkeypatch):
    monkeypatch.setitem(roofline.SIDES, "cpu", 64)
    monkeypatch.setitem(roofline.BYTES, "cpu", 1 << 16)
    found = roofline.measure("cpu", [torch.float32], clock.CpuClock())
    assert found.copy_gbs > 0 and found.product_tflops["float32"] > 0


class Recorder:
    """A clock that records the order, and whose times are known."""

    def __init__(self):
        self.order = []

    def ready(self, call):
        return call

    def milliseconds(self, ready):
        self.order.append(ready())
        return 1.0


def test_calls_take_turns_in_an_order_that_rotates():
    recorder = Recorder()
    times = clock.in_turns(recorder, {name: lambda name=name: name for name in "abc"}, rounds=3, seconds=10.0)
    assert "".join(recorder.order) == "abcbcacab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_rounds_end_with_the_time():
    times = clock.in_turns(Recorder(), {"a": lambda: time.sleep(0.001)}, rounds=1000, seconds=0.0)
    assert len(times["a"]) == clock.FEWEST


@pytest.mark.parametrize("cold", [False, True])
def test_the_clock_of_a_cpu(cold, monkeypatch):
    monkeypatch.setattr(clock, "FLUSH", 1 << 12)
    monkeypatch.setattr(clock, "SAMPLE", 0.05)
    watch = clock.CpuClock(cold)
    calls = []

    def call():
        calls.append(1)
        time.sleep(1e-5)

    ready = watch.ready(call)
    before = len(calls)
    assert watch.milliseconds(ready) > 0.01
    assert (len(calls) - before == 1) is cold  # a sample of warm calls is as many as can be timed


@pytest.mark.gpu
def test_the_clock_of_a_gpu_times_graphs_and_counts_launches():
    x = torch.ones(1 << 20, device="cuda")
    watch = clock.GpuClock()
    assert 0 < watch.milliseconds(watch.ready(lambda: x + 1)) < 10
    assert clock.launches(lambda: (x + 1) * 2) == 2


@pytest.mark.gpu
def test_a_case_on_a_gpu():
    case = next(case for case in cases() if case.op == "dense" and "cuda" in case.devices)
    rows = measure.measure(
        case, torch.bfloat16, measure.Options("cuda", ("fastk", "torch"), 3, 1.0), clock.GpuClock(), LIMITS
    )
    assert all(row["launches"] >= 1 and isinstance(row["ms"]["p50"], float) for row in rows), rows


def test_jax_computes_the_same():
    pytest.importorskip("jax")
    case = SMALLEST["dense"]
    rows = measure.measure(case, torch.float32, options("torch", "jax"), clock.CpuClock(), LIMITS)
    assert [row for row in rows if "failed" in row] == []
