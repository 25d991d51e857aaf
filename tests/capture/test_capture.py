"""A replay does what the step did: bit for bit, on new inputs, and in fewer calls."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from fastk import capture
from fastk.capture.host_call import active


def captured(step, *buffers):
    """The program of a step, which has run three times then."""
    step(*buffers)
    first, second = capture.record(step, *buffers), capture.record(step, *buffers)
    assert first.difference(second) is None
    return capture.build(second)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


FILTERS = normal(5, 3, 3, 3)
FACTORS = normal(4, 96, seed=1).requires_grad_()


def conv_and_pool(x):
    y = torch.nn.functional.conv2d(x.view(2, 3, 8, 8), FILTERS).relu_()
    return torch.nn.functional.max_pool2d(y, 2).flatten(1).t().sum(0)


def of_a_mean(x):
    loss = torch.nn.functional.mse_loss(x.view(4, 96) * FACTORS, torch.full((4, 96), 0.5))
    return torch.autograd.grad(loss, FACTORS)[0]


def of_chosen_rows(x):
    rows = x[:96].view(4, 24).argmax(1) % 4
    loss = ((x.view(4, 96) * FACTORS)[rows] ** 2).sum() + FACTORS[:, rows].sum()
    return torch.autograd.grad(loss, FACTORS)[0]


STEPS = {
    "views of a result": lambda x: (x + 1).view(16, 24).t()[3:5].reshape(-1) * 2,
    "a result changed in place": lambda x: x.mul(3).clamp_(min=0).add_(x),
    "another type": lambda x: (x > 0).to(torch.float64).cumsum(0),
    "several results": lambda x: torch.cat([x.view(24, 16).max(1)[0], x.view(24, 16).sort(1)[0][:, 0]]),
    "new tensors and their views": conv_and_pool,
    "a gradient": of_a_mean,
    "indices": lambda x: x.view(16, 24)[:, (x[:5] * 10).long().abs() % 24],
    "a gradient of what was chosen by indices": of_chosen_rows,
    "lists": lambda x: torch.stack(torch._foreach_add([x, x * 2], 1.0)),
    "a part of memory that is not set": lambda x: torch.empty(2, 384).copy_(x).sum(0),
    "constants of shapes": lambda x: x + torch.arange(384) * torch.ones_like(x),
    "constants written to": lambda x: torch.zeros(384).index_add_(0, torch.arange(384), x),
    "constants of the host": lambda x: x * torch.tensor([0.5]) + torch.from_numpy(np.ones(384, "float32")),
    "a tuple, None and a number": lambda x: {"a": (x * 2, None), "b": [x.sum(), 3]},
    "its input": lambda x: x,
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_replay_is_the_step(step):
    buffer = normal(384)
    program = captured(step, buffer)
    for seed in (1, 2):
        buffer.copy_(normal(384, seed=seed))
        torch.testing.assert_close(program.run(), step(buffer), rtol=0, atol=0)


def test_state_is_updated_where_it_lies():
    weight, x = normal(8), normal(8, seed=1)

    def step(x):
        weight.sub_(0.1 * (weight - x))

    program = captured(step, x)
    expected = weight.clone()
    for seed in (2, 3):
        x.copy_(normal(8, seed=seed))
        expected = expected - 0.1 * (expected - x)
        program.run()
    torch.testing.assert_close(weight, expected)


def test_what_follows_from_weights_alone_can_be_left_out():
    kernel, scale, x = normal(12, 8), normal(8, seed=1), normal(4, 12)

    def step(x):
        return (x @ (kernel * scale.rsqrt().nan_to_num(1.0)).t().contiguous().t()).relu()

    program = captured(step, x)
    assert program.source.startswith("def prepare():") and program.source.count("mm(") == 1
    assert "mm(" not in program.source.split("def run():")[0]
    for seed in (1, 2):
        x.copy_(normal(4, 12, seed=seed))
        kernel.copy_(normal(12, 8, seed=seed))
        assert torch.equal(program.run(), step(x))
        x.copy_(normal(4, 12, seed=seed + 5))
        assert torch.equal(program.run_again(), step(x))
    before = step(x)
    kernel.zero_()
    assert torch.equal(program.run_again(), before)  # so it is for whoever knows that no weight has changed


def test_what_the_step_changes_is_no_weight():
    state, kernel, x = torch.ones(3), torch.ones(3), torch.ones(3)

    def step(x):
        state.add_(1.0)
        return x * (state * 2), (kernel * 5).add_(1.0), torch.rand(3).mul_(0.0)

    program = captured(step, x)
    assert "prepare" not in program.source
    assert torch.equal(program.run_again()[0], step(x)[0] - 2)


def test_after_a_call_of_the_host_a_weight_may_be_another():
    kernel, x = torch.ones(3), torch.ones(3)

    def grow():
        kernel.add_(1.0)

    def step(x):
        before = kernel * 2
        capture.host_call(grow)
        return x + before, x + kernel * 2

    program = captured(step, x)
    found = program.run()
    for ours, theirs in zip(found, step(x), strict=True):
        assert torch.equal(ours, theirs - 2)


def test_random_numbers_are_those_that_the_step_would_draw():
    x = torch.zeros(100)

    def step(x):
        return torch.nn.functional.dropout(x + 1, 0.5) + torch.rand(100)

    program = captured(step, x)
    torch.manual_seed(7)
    expected = [step(x) for _ in range(3)]
    torch.manual_seed(7)
    for one in expected:
        torch.testing.assert_close(program.run(), one, rtol=0, atol=0)


def test_views_cost_nothing_and_memory_is_used_again():
    x = normal(1000)

    def step(x):
        for _ in range(10):
            x = (x.view(10, 100).t().contiguous().view(-1) + 1).detach()
        return x

    program = captured(step, x)
    assert program.calls == 20  # a copy and a sum, ten times; the last sum is returned
    assert program.arena_bytes <= 3 * 4096


def test_a_function_of_the_host_is_called_at_each_replay():
    x, counts = torch.zeros(3), []

    def drawn(count, scale):
        counts.append(count)
        return torch.full((2, count), float(len(counts)))[1] * scale

    def step(x):
        return capture.host_call(drawn, 3, x + 1).view(3, 1) + 1

    program = captured(step, x)
    before = len(counts)
    x.fill_(1.0)
    assert program.run().flatten().tolist() == [2.0 * (before + 1) + 1] * 3
    assert program.run().flatten().tolist() == [2.0 * (before + 2) + 1] * 3


REFUSED = {
    "reads a value": lambda x: x * x.sum().item(),
    "depends on values": lambda x: x[x > 0],
    "by Tensor.numpy()": lambda x: x + torch.from_numpy(x.numpy() + 1),
    "by Tensor.tolist()": lambda x: x * x.tolist()[0],
    "lazy conjugate": lambda x: torch.complex(x, x).conj().real,
}


def test_what_follows_from_a_weight_after_the_host_may_have_written_it_is_computed_there():
    weight = torch.ones(3)

    def update():  # as an optimizer, which is given variables and no tensors
        weight.mul_(2.0)

    def step(x):
        before = x * weight.square()
        capture.host_call(update)
        return before, x * weight.square()

    x = torch.ones(3)
    program = captured(step, x)  # the weight is 8 then
    first, second = program.run()
    assert first.tolist() == [64.0] * 3 and second.tolist() == [256.0] * 3


@pytest.mark.parametrize("reason", REFUSED)
def test_what_depends_on_values_is_refused_in_words(reason):
    recording = capture.record(REFUSED[reason], torch.ones(4))
    assert reason in recording.refusal
    assert recording.result is not None
    assert active.recorder is None


def test_steps_that_differ_say_where():
    x = torch.ones(2)
    factors = iter([1.0, 2.0, 3.0, 4.0])
    first, second = (capture.record(lambda x: x * next(factors), x) for _ in range(2))
    assert first.difference(second) == "call 0 of the step, aten.mul.Tensor(float32[2], 1.0), was " \
        "aten.mul.Tensor(float32[2], 2.0) at another step"  # fmt: skip
    first, second = (capture.record(lambda x: x * torch.tensor(next(factors)), x) for _ in range(2))
    assert "from outside was another one" in (first.difference(second) or "")
    first, second = (capture.record(step, x) for step in (torch.sin, lambda x: x.sin().sin()))
    assert first.difference(second) == "the step made 1 calls, and 2 at another time"


def test_state_that_is_made_anew_each_time_is_refused():
    first, second = (capture.record(lambda x: torch.from_numpy(np.ones(2)).add_(x), torch.ones(2)) for _ in range(2))
    assert "from outside" in (first.difference(second) or "")


def test_an_error_in_a_step_ends_the_recording():
    with pytest.raises(RuntimeError, match="shape"):
        capture.record(lambda x: x @ x.view(2, 2), torch.ones(4))
    assert active.recorder is None


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def test_named_tuples_are_taken_and_returned():
    def step(pair: Pair) -> Pair:
        return Pair(pair.first + pair.second, pair.second * 2)

    given = Pair(torch.ones(3), torch.ones(3))
    first, second = capture.record(step, given), capture.record(step, given)
    assert first.difference(second) is None
    program = capture.build(second)
    given.second.fill_(4.0)
    result = program.run()
    assert type(result) is Pair
    assert result.first.tolist() == [5.0] * 3 and result.second.tolist() == [8.0] * 3


def test_a_recording_that_fails_leaves_none_under_way():
    class Odd(list):
        def __init__(self):
            super().__init__([1])

    with pytest.raises(TypeError):
        capture.record(lambda x: None, Odd())
    assert capture.record(lambda x: x + 1, torch.ones(2)).refusal is None
