"""Step by step the numbers and the states of torch's optimizers, which are the oracle."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from fastk import autograd, optim

CASES = [
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 1e-2}),
    ("Adam", {"weight_decay": 0.3, "amsgrad": True}),
    ("Adam", {"maximize": True, "eps": 1e-3}),
    ("Adam", {"weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("Adam", {"lr": torch.tensor(0.02, dtype=torch.float64)}),
    ("AdamW", {"weight_decay": 0.2, "lr": 0.1}),
    ("AdamW", {"amsgrad": True, "maximize": True}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    ("RMSprop", {"eps": 1e-3}),
    ("RMSprop", {"alpha": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"momentum": 0.7, "centered": True}),
]
SHAPES = ((3, 4), (7,), (), (2, 3, 3, 2))


def parameters(dtype=torch.float64) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    params = [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]
    params[3].data = params[3].data.to(memory_format=torch.channels_last)
    params[0].data = torch.cat([params[0].data] * 2, 1)[:, :4]  # with gaps
    return params


def give_gradients(params, step, skip=False):
    generator = torch.Generator().manual_seed(100 + step)
    for i, param in enumerate(params):
        param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param.dtype)
        if skip and i == step % 2:
            param.grad = None


def both(name, options, dtype=torch.float64):
    ours, theirs = parameters(dtype), parameters(dtype)
    own = {key: value for key, value in options.items() if key != "max_norm"}
    return ours, theirs, getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **own)


def assert_same(ours, theirs, rtol=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("skip", [False, True])
def test_steps_are_those_of_torch(name, options, skip):
    ours, theirs, fast, plain = both(name, options)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(each, 0.8) for each in (fast, plain)]
    for step in range(6):
        give_gradients(ours, step, skip)
        give_gradients(theirs, step, skip)
        before = [None if p.grad is None else p.grad.clone() for p in ours]
        fast.step()
        plain.step()
        assert_same(ours, theirs)
        assert all(b is None or torch.equal(p.grad, b) for p, b in zip(ours, before, strict=True))
        [schedule.step() for schedule in schedules]
    for p, q in zip(ours, theirs, strict=True):
        assert fast.state[p].keys() == plain.state[q].keys()
        for key, value in plain.state[q].items():
            torch.testing.assert_close(fast.state[p][key], value, rtol=1e-12, atol=1e-12)
            assert key == "step" or p is ours[0] or fast.state[p][key].stride() == p.stride()


@pytest.mark.parametrize(("name", "options"), [*CASES[:3], *CASES[6:7], *CASES[10:]])
def test_state_dicts_go_both_ways(name, options):
    ours, theirs, fast, plain = both(name, options)
    for step in range(3):
        give_gradients(ours, step)
        fast.step()
    for p, q in zip(ours, theirs, strict=True):
        q.data.copy_(p.data)
    plain.load_state_dict(copy.deepcopy(fast.state_dict()))
    again = getattr(optim, name)(ours, **options)
    again.load_state_dict(copy.deepcopy(plain.state_dict()))
    for step in range(3, 6):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        again.step()
        plain.step()
    assert_same(ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_clipping_is_that_of_clip_grad_norm(name, options):
    for split in (False, True):
        ours, theirs, fast, plain = both(name, options | {"max_norm": 2.0})
        if split:  # a group each: the norm is still that of all
            groups = [{"params": ours[:1], "lr": 0.03}, {"params": ours[1:]}]
            fast = getattr(optim, name)(groups, **options, max_norm=2.0)
            groups = [{"params": theirs[:1], "lr": 0.03}, {"params": theirs[1:]}]
            plain = getattr(torch.optim, name)(groups, **options)
        for step in range(3):
            give_gradients(ours, step)
            give_gradients(theirs, step)
            norm = torch.nn.utils.get_total_norm([p.grad for p in theirs])
            assert norm > 2.0
            for q in theirs:
                q.grad.mul_(2.0 / norm)  # torch's own adds 1e-6 to the norm
            fast.step()
            plain.step()
            assert_same(ours, theirs, 1e-11)


def test_several_dtypes_in_one_group():
    mixed = [
        nn.Parameter(p.detach().to(t)) for p, t in zip(parameters(), (torch.float32, torch.float64) * 2, strict=True)
    ]
    other = copy.deepcopy(mixed)
    fast, plain = optim.Adam(mixed, max_norm=None), torch.optim.Adam(other)
    for step in range(3):
        give_gradients(mixed, step)
        give_gradients(other, step)
        fast.step()
        plain.step()
    assert_same(mixed, other, 2e-6)


def test_a_closure_and_its_loss():
    weight = nn.Parameter(torch.ones(3))
    optimizer = optim.SGD([weight], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    torch.testing.assert_close(weight.detach(), torch.zeros(3))


def test_with_a_grad_scaler():
    ours, theirs, fast, plain = both("Adam", {"lr": 0.1}, torch.float32)
    scalers = [torch.amp.GradScaler("cpu", init_scale=8.0) for _ in range(2)]
    for step in range(4):
        for params, optimizer, scaler in ((ours, fast, scalers[0]), (theirs, plain, scalers[1])):
            optimizer.zero_grad()
            loss = torch.cat([p.flatten() for p in params]).sum() * (step + 1)
            scaler.scale(loss).backward()
            if step == 2:
                params[0].grad.fill_(float("inf"))
            scaler.step(optimizer)
            scaler.update()
        assert_same(ours, theirs, 1e-6)
    assert fast.state[ours[0]]["step"] == 3 and scalers[0].get_scale() == 4.0


def test_pickles_and_copies_keep_what_they_are():
    ours = parameters()
    fast = optim.AdamW(ours, max_norm=1.0)
    give_gradients(ours, 0)
    fast.step()
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert other.max_norm == 1.0 and isinstance(other, torch.optim.AdamW)
        params = other.param_groups[0]["params"]
        give_gradients(params, 1)
        other.step()
    give_gradients(ours, 1)
    fast.step()
    assert_same(ours, params)


def test_infinite_gradients_are_not_clipped_to_finite_ones():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([float("inf"), 1.0])
    optim.SGD([weight], max_norm=1.0).step()
    assert weight.isnan().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.Adam(p, foreach=False), "Adam does not take foreach=False: its step is always one over all"),
        (lambda p: optim.SGD(p, fused=False), "SGD does not take fused=False"),
        (lambda p: optim.AdamW(p, capturable=True), "AdamW does not take capturable=True: the host counts"),
        (lambda p: optim.RMSprop(p, differentiable=True), "RMSprop does not take differentiable=True"),
        (lambda p: optim.SGD(p, max_norm=-1.0), "`max_norm` of SGD must be a positive number or None. Received: -1.0"),
        (lambda p: optim.Adam(p, lr=-1.0), "Invalid learning rate"),
    ],
)
def test_arguments_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(parameters())


def test_gradients_and_parameters_that_are_refused():
    weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    weight.grad = torch.ones_like(weight)
    with pytest.raises(TypeError, match="takes real parameters"):
        optim.Adam([weight]).step()
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="no sparse gradients"):
        optim.SGD(embedding.parameters()).step()


def test_the_step_is_the_op_of_fastk(monkeypatch):
    calls = []
    monkeypatch.setattr("fastk.optim.adam.adam_", lambda *a: calls.append(len(a[0])) or autograd.adam_(*a))
    params = parameters()
    give_gradients(params, 0)
    optim.Adam(params).step()
    assert calls == [4]
