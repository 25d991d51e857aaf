"""The traffic command: what passes and what does not, on kernels made for it; then on those of the ops."""

import json
from dataclasses import replace

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from fastk import config, dispatch  # noqa: E402
from fastk.kernels.verify import traffic  # noqa: E402
from fastk.kernels.verify.traffic import Least, TrafficCase, measure  # noqa: E402

SIZE = 4096


@triton.jit
def scale_kernel(y_ptr, x_ptr, n, READS: tl.constexpr, STEP: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * STEP + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0.0)
    for _ in tl.static_range(READS - 1):  # pyright: ignore[reportGeneralTypeIssues]
        x = tl.maximum(x, tl.load(x_ptr + offs, mask=offs < n, other=0.0))
    tl.store(y_ptr + offs, x, mask=offs < n)


def dropout_scaled(x, reads=1, step=1024):
    """A launcher that is called after an op, as all are."""
    y = torch.empty_like(x)
    scale_kernel[(triton.cdiv(x.numel(), step),)](y, x, x.numel(), reads, step, 1024)
    return y


@triton.jit
def product_kernel(y_ptr, x_ptr, w_ptr, M, K: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr):
    rows, columns, depth = tl.arange(0, BLOCK)[:, None], tl.arange(0, N)[None, :], tl.arange(0, K)
    x = tl.load(x_ptr + rows * K + depth[None, :], mask=rows < M, other=0.0)  # [BLOCK, K]
    w = tl.load(w_ptr + depth[:, None] * N + columns)  # [K, N]
    tl.store(y_ptr + rows * N + columns, tl.dot(x, w, input_precision="ieee"), mask=rows < M)


def dense_forward(x, kernel, block):
    y = x.new_empty(len(x), kernel.size(1))
    product_kernel[(1,)](y, x, kernel, len(x), *kernel.shape, block)
    return y


def test_a_kernel_that_reads_and_writes_once_passes():
    row = measure(TrafficCase("once", dropout_scaled, (torch.ones(SIZE),)))
    assert row.problem is None and row.launches == 1
    assert row.requested == row.distinct == row.least_bytes == 8 * SIZE
    assert "1.000x" in str(row) and str(row).endswith("pass")


def test_a_kernel_that_reads_twice_does_not():
    row = measure(TrafficCase("twice", dropout_scaled, (torch.ones(SIZE), 2)))
    assert row.requested == 12 * SIZE and row.distinct == 8 * SIZE
    assert row.problem == "bytes: more than 1.01 times the least"
    assert "1.500x" in str(row) and "FAIL" in str(row)


def test_a_kernel_that_says_that_the_cache_has_it_may_read_twice(monkeypatch):
    monkeypatch.setattr(traffic, "least_of", lambda *call: Least(8 * SIZE, cached=True))
    assert measure(TrafficCase("twice", dropout_scaled, (torch.ones(SIZE), 2))).problem is None
    monkeypatch.setattr(traffic, "least_of", lambda *call: Least(7 * SIZE, cached=True))
    assert measure(TrafficCase("once", dropout_scaled, (torch.ones(SIZE),))).problem is not None


def test_programs_that_race_do_not_pass():
    row = measure(TrafficCase("overlapping", dropout_scaled, (torch.ones(SIZE), 1, 1000)))
    assert row.races > 0 and "races" in str(row.problem)


@pytest.mark.parametrize(("block", "times"), [(32, 1.0), (64, 2.0)])
def test_products_are_judged_by_their_flops(block, times):
    case = TrafficCase("padded", dense_forward, (torch.ones(32, 64), torch.ones(64, 16), block))
    row = measure(case)
    assert row.flops == times * row.least_flops == 2 * block * 64 * 16
    assert (row.problem is None) == (times == 1.0)
    assert measure(replace(case, most_flops=times)).problem is None
    less = times - 0.01
    assert measure(replace(case, most_flops=less)).problem == f"flops: more than {less:.4g} times the least"


def test_the_least_counts_a_tensor_once_and_in_place_what_is_written():
    x = torch.ones(6, 4)
    assert traffic.moved(x, [x, (x.expand(6, 4), None)], 3, "text") == 96
    assert traffic.moved(x[:, :2], torch.ones(3).expand(5, 3), x.new_empty(0)) == 48 + 12

    def activation_(x):
        scale_kernel[(1,)](x, x, 1000, 1, 1024, 1024)

    assert measure(TrafficCase("in place", activation_, (torch.ones(1000),))).least_bytes == 8000


def test_launchers_are_called_after_their_op():
    assert traffic.folder("softmax_cross_entropy_with_gradient") == "softmax_cross_entropy"
    with pytest.raises(ValueError, match="novelty_forward"):
        traffic.folder("novelty_forward")


def test_the_command(monkeypatch, capsys, tmp_path):
    class Cases:
        reads = 1

        @classmethod
        def traffic_cases(cls):
            yield TrafficCase("first", dropout_scaled, (torch.ones(SIZE), cls.reads))

    monkeypatch.setattr(traffic, "cases_module", lambda op: Cases)
    assert traffic.main(["--op", "dropout", "--json", str(tmp_path / "rows.json")]) == 0
    assert "1 of 1 cases pass" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "rows.json").read_text())["cases"]
    assert row["op"] == "dropout_scaled" and row["requested"] == 8 * SIZE
    Cases.reads = 2
    assert traffic.main(["--op", "dropout"]) == 1
    assert "0 of 1 cases pass" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        traffic.main(["--op", "novelty"])
    assert "no op is called novelty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "novelty"], "no reference model is called novelty; there are mlp, cnn, lstm"),
        (["--op", "dropout", "--steps", "mlp"], "argument --steps: not allowed with argument --op"),
    ],
)
def test_steps_that_cannot_be_counted(arguments, words, capsys):
    with pytest.raises(SystemExit):
        traffic.main(arguments)
    assert words in capsys.readouterr().err


def test_the_command_sets_the_environment_for_itself(monkeypatch):
    seen = {}

    class Finished:
        returncode = 3

    def run(command, env):
        seen.update(command=command, interpreted=env["TRITON_INTERPRET"])
        return Finished

    monkeypatch.setattr(config, "triton_interpreted", lambda: False)
    monkeypatch.setattr(traffic.subprocess, "run", run)
    assert traffic.main(["--op", "dropout"]) == 3
    assert seen["interpreted"] == "1" and seen["command"][-4:] == ["fastk.kernels", "traffic", "--op", "dropout"]


OPS_WITH_CASES = [op for op in traffic.ops() if traffic._has(op, "traffic_cases")]


@pytest.mark.parametrize("op", [op for op in ("activation", "dropout", "max_pool2d", "sgd") if op in OPS_WITH_CASES])
def test_first_case_of_ops_that_stream(op):
    module = traffic.cases_module(op)
    assert module is not None
    row = measure(next(module.traffic_cases()))
    assert row.problem is None, str(row)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS_WITH_CASES)
def test_cases_of_every_op(op):
    module = traffic.cases_module(op)
    assert module is not None
    rows = [measure(case) for case in module.traffic_cases()]
    assert not [str(row) for row in rows if row.problem]


@pytest.fixture
def fresh_dispatch(monkeypatch):
    """Functions are found anew, so that they are the recorded ones."""
    for name, empty in {"_files": {}, "_settled": {}, "_searched": set(), "_last": {}}.items():
        monkeypatch.setattr(dispatch, name, empty)
    dispatch.kernel_function.cache_clear()
    yield
    dispatch.kernel_function.cache_clear()


# The calls of a step in their order, without those of a dropout that no product takes in; the step's launches.
STEPS = {
    "mlp": ("dense dense loss dense dense adam", 10),
    "cnn": ("conv2d max_pool2d conv2d max_pool2d dense loss dense max_pool2d conv2d max_pool2d conv2d adam", 24),
    "lstm": ("lstm dense loss dense lstm adam", 9),
}


@pytest.mark.parametrize("model", ["mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cnn", "lstm"))])
def test_calls_of_a_training_step(model, fresh_dispatch):
    from fastk.kernels.verify import training_steps

    rows = training_steps.step(model)
    names = [row.op.replace("softmax_cross_entropy", "loss") for row in rows]
    ops = [name.removesuffix("_").removesuffix("_forward").removesuffix("_backward") for name in names]
    calls, launches = STEPS[model]
    assert " ".join(op for op in ops if op != "dropout") == calls.replace("loss", "loss loss")
    assert sum(row.launches for row in rows) == launches
    assert all(row.races == 0 for row in rows) and rows[-1].problem is None
    assert f"in all {launches} launches" in traffic.summary(rows)
