"""The one-launch steps: launches, bytes, races, and the partial sums that norms are made of."""

import pytest
import torch

from fastk.kernels.step_options import StepOptions

if torch.cuda.is_available():
    pytest.skip("counts what the interpreter sees, on a machine without a GPU", allow_module_level=True)

pytest.importorskip("triton")

from fastk.kernels import triton_multi_tensor as multi_tensor
from fastk.kernels.adam.configurations import SHIPPED, StepConfiguration
from fastk.kernels.adam.triton_kernels import adam_
from fastk.kernels.rmsprop.triton_kernels import rmsprop_
from fastk.kernels.sgd.triton_kernels import sgd_
from fastk.kernels.verify import interpreter

NORM = StepOptions(global_clipnorm=1.0)
# Lists of tensors, bytes a float32 parameter, how the step is called.
STEPS = {
    "adam": (4, 28, lambda o, c, p, g, m, v: adam_(p, g, m, v, None, 1, 0.1, 0.9, 0.999, 1e-7, o, c)),
    "amsgrad": (5, 36, lambda o, c, p, g, m, v, h: adam_(p, g, m, v, h, 1, 0.1, 0.9, 0.999, 1e-7, o, c)),
    "sgd": (2, 12, lambda o, c, p, g: sgd_(p, g, None, 0.1, 0.0, False, o, c)),
    "momentum": (3, 20, lambda o, c, p, g, m: sgd_(p, g, m, 0.1, 0.9, False, o, c)),
    "rmsprop": (3, 20, lambda o, c, p, g, v: rmsprop_(p, g, v, None, None, 0.1, 0.9, 0.0, 1e-7, o, c)),
    "centered": (5, 36, lambda o, c, p, g, v, m, a: rmsprop_(p, g, v, m, a, 0.1, 0.9, 0.9, 1e-7, o, c)),
}


def lists(count, sizes):
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(size, generator=generator).square() for size in sizes] for _ in range(count)]


@pytest.mark.parametrize("configuration", SHIPPED, ids=lambda c: str(c.BLOCK))
@pytest.mark.parametrize("step", STEPS)
def test_bytes_of_a_step(step, configuration):
    count, bytes_each, call = STEPS[step]
    tensors = lists(count, [3 * configuration.BLOCK, 1003])
    with interpreter.trace(reachable=[t for each in tensors for t in each]) as launches:
        call(None, configuration, *tensors)
    (launch,) = launches
    least = bytes_each * sum(t.numel() for t in tensors[0])
    assert launch.requested <= 1.01 * least
    assert launch.races == 0


def test_bytes_of_clipping():
    count, bytes_each, call = STEPS["adam"]
    tensors = lists(count, [8 * 4096, 4096])
    with interpreter.trace(reachable=[t for each in tensors for t in each]) as launches:
        call(NORM, SHIPPED[0], *tensors)
    squares, step = launches
    numel = sum(t.numel() for t in tensors[0])
    assert squares.requested <= 1.01 * 4 * numel and squares.races == 0
    assert step.requested <= 1.01 * bytes_each * numel and step.races == 0


def test_the_order_of_programs_does_not_matter():
    _, _, call = STEPS["adam"]
    first = lists(4, [4099, 7])

    def run():
        tensors = [[t.clone() for t in each] for each in first]
        call(NORM, SHIPPED[1], *tensors)
        return (*tensors[0], *tensors[2], *tensors[3])

    interpreter.check_program_order(run)


def test_spans_stay_within_tensors_and_cover_them():
    sizes = (5, 0, 1024 * 300 + 1, 1024)
    layout = multi_tensor._make_layout(sizes, 1024, torch.device("cpu"))
    spans = layout.spans.tolist()
    assert len(spans) <= multi_tensor.SPANS + len(sizes)
    for i, size in enumerate(sizes):
        first, number = layout.partials[i]
        own = spans[first : first + number]
        assert [span[0] for span in own] == [i] * number
        covered = [chunk for _, start, count in own for chunk in range(start, start + count)]
        assert covered == list(range(-(-size // 1024)))


def test_norms_of_many_spans():
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(n, generator=generator) for n in (64 * 150 + 5, 64 * 200)]
    params = [torch.zeros_like(g) for g in grads]
    small = StepConfiguration(64, 1)
    sgd_(params, grads, None, -1.0, 0.0, False, StepOptions(clipnorm=1.0), small)
    for param, grad in zip(params, grads, strict=True):
        torch.testing.assert_close(param, grad / grad.double().norm().float(), rtol=1e-6, atol=0)


def test_tables_are_kept_while_the_addresses_are(monkeypatch):
    made = []
    monkeypatch.setattr(multi_tensor, "_make_plan", lambda *a, make=multi_tensor._make_plan: made.append(a) or make(*a))
    params, grads = lists(2, [5, 9])
    for _ in range(3):
        sgd_(params, grads, None, 0.1, 0.0, False, None)
    assert len(made) == 1
    sgd_(params, [g.clone() for g in grads], None, 0.1, 0.0, False, None)
    assert len(made) == 2


def test_configurations():
    assert all(configuration.why_invalid() is None for configuration in SHIPPED)
    assert "power of two" in str(StepConfiguration(1000, 4).why_invalid())
    assert "elements a thread" in str(StepConfiguration(4096, 4).why_invalid())
