"""A replayed training step gives the numbers of the loop that it replaces, and notices what it cannot replay."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fastk import optim
from fastk.integrations.torch import TrainStep, accelerate
from tests.integrations.torch.nets import NETS, LeNet, images, mlp, rows

LABELS = torch.tensor([0, 1, 2, 3, 4, 1])
STEPS = 6  # one as it is, two recorded, three replayed


def loop(model, optimizer, x, y, steps=STEPS):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("apart", [False, True])  # as on a GPU: the optimizer's step after the replay
def test_losses_are_those_of_the_loop(name, apart, monkeypatch):
    monkeypatch.setattr(TrainStep, "_is_apart", lambda self, loss: apart)
    torch.manual_seed(3)
    make, inputs = NETS[name]
    model, x = accelerate(make()), inputs()
    plain = copy.deepcopy(model)
    expected = loop(plain, optim.Adam(plain.parameters(), lr=0.01), x, LABELS)
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01))
    assert [step(x, LABELS).item() for _ in range(STEPS)] == expected
    assert step.replayed == 1 and not step.reasons
    for (key, a), b in zip(plain.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETS)
def test_graphs_on_a_gpu(name):
    torch.manual_seed(3)
    make, inputs = NETS[name]
    model, x, y = accelerate(make().cuda()), inputs().cuda(), LABELS.cuda()
    plain = copy.deepcopy(model)
    expected = loop(plain, optim.Adam(plain.parameters(), lr=0.01), x, y)
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01))
    torch.testing.assert_close([step(x, y).item() for _ in range(STEPS)], expected, rtol=1e-4, atol=1e-5)
    assert step.replayed == 1 and not step.reasons


def test_dropout_schedules_and_shapes():
    results = []
    for captured in (False, True):
        torch.manual_seed(3)
        model = LeNet(0.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        step = TrainStep(model, nn.CrossEntropyLoss(), optimizer)
        results.append([])
        for i in range(8):
            size = 6 if i % 3 else 4
            x, y = images(1, 16)[:size] + i, LABELS[:size]
            loss = step(x, y).item() if captured else loop(model, optimizer, x, y, 1)[0]
            results[-1].append(loss)
            schedule.step()
    assert results[0] == results[1] and step.replayed == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.eval(),
        lambda m: m[3].requires_grad_(False),
        lambda m: setattr(m[0].weight, "data", m[0].weight.data * 2),
        lambda m: m[2].__setattr__("p", 0.7),
        lambda m: m.__setitem__(1, nn.Tanh()),
        lambda m: m[1].register_forward_hook(lambda module, args, y: y * 2),
        lambda m: m.load_state_dict({k: v + 0.5 for k, v in m.state_dict().items()}),
    ],
)
def test_changes_between_steps_are_seen(change):
    losses = []
    for captured in (False, True):
        torch.manual_seed(3)
        model = accelerate(mlp(0.2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = TrainStep(model, nn.CrossEntropyLoss(), optimizer)
        torch.manual_seed(1)
        losses.append([])
        for _ in range(2):
            for _ in range(4):
                loss = step(rows(), LABELS).item() if captured else loop(model, optimizer, rows(), LABELS, 1)[0]
                losses[-1].append(loss)
            change(model)
    assert losses[1] == losses[0]
    assert step.replayed == 1 and all("hook" in reason for reason in step.reasons)


def test_what_cannot_be_replayed_runs_as_it_is():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 5)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else -self.fc(x)

    torch.manual_seed(3)
    model = Branch()
    plain = copy.deepcopy(model)
    step = TrainStep(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    expected = loop(plain, torch.optim.SGD(plain.parameters(), lr=0.1), rows(), LABELS)
    assert [step(rows(), LABELS).item() for _ in range(STEPS)] == expected
    assert step.replayed == 0 and "reads a value" in step.reasons[0]


def test_several_inputs_outputs_and_autocast():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x, y):
            return self.a(x) + self.b(y), x

    model = Two()
    step = TrainStep(
        model, lambda out, y: (out[0] - y).square().mean(), torch.optim.SGD(model.parameters()), returns_outputs=True
    )
    for i in range(6):
        x = rows() * i
        with torch.autocast("cpu", torch.bfloat16, enabled=i >= 4):
            expected = model(x, x)[0].detach()
            loss, (y, same) = step((x, x), torch.zeros(6, 5))
        assert torch.equal(y, expected) and torch.equal(same, x) and not loss.requires_grad
        assert y.dtype == (torch.bfloat16 if i >= 4 else torch.float32)


def test_what_is_refused():
    model: Any = mlp()
    step = TrainStep(model, lambda y, target: y, torch.optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match="`loss` must return a tensor of one element"):
        step(rows(), LABELS)
    model[0].weight.register_post_accumulate_grad_hook(lambda p: None)
    with pytest.raises(ValueError, match="a hook that runs after"):
        step(rows(), LABELS)
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    with pytest.raises(TypeError, match="DistributedDataParallel"):
        TrainStep(wrapped, nn.MSELoss(), torch.optim.SGD(model.parameters()))
