"""What a trace would get wrong is noticed: such modules run as they are, or are traced anew."""

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint

from fastk.integrations.torch import accelerate, explain
from tests.integrations.torch.nets import mlp, rows


class Net(nn.Module):
    """Two layers that would be fused, with something around them."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.scale = 2.0
        self.calls = 0
        self.register_buffer("steps", torch.zeros(()))

    def hidden(self, x):
        return torch.relu(self.fc(x))


class ControlFlow(Net):
    def forward(self, x):
        return self.hidden(x) if x.sum() > 0 else -x


class Counter(Net):
    def forward(self, x):
        self.calls += 1
        return self.hidden(x) * self.calls


class Draws(Net):
    def forward(self, x):
        return self.hidden(x) if random.random() < 0.5 else -x


class NumpyDraws(Net):
    def forward(self, x):
        return self.hidden(x) if np.random.rand() < 0.5 else -x


class Noise(Net):
    def forward(self, x):
        return self.hidden(x) + torch.randn(6)


class Constant(Net):
    def forward(self, x):
        return self.hidden(x) + torch.arange(6)


class NoGrad(Net):
    def forward(self, x):
        with torch.no_grad():
            x = self.hidden(x)
        return x * 2


class InFullPrecision(Net):
    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return self.hidden(x.float())


class Checkpointed(Net):
    def forward(self, x):
        return checkpoint(self.hidden, x, use_reentrant=False)


class CheckpointedReentrant(Net):
    def forward(self, x):
        return checkpoint(self.hidden, x, use_reentrant=True)


class Types(Net):
    def forward(self, x):
        y = self.hidden(x)
        return -y if isinstance(y, torch.Tensor) else y


class Remembers(Net):
    def forward(self, x):
        self.last = self.hidden(x)
        return self.last * 1


class Collects(Net):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.hidden(x)


UNTRACEABLE = {
    ControlFlow: "control flow",
    Counter: "sets the attribute `calls`",
    Draws: "random numbers",
    Noise: "neither argument, parameter nor buffer",
    NumpyDraws: "random numbers",
    Constant: "neither argument, parameter nor buffer",
    NoGrad: "switches gradients",
    InFullPrecision: "switches gradients, autocast",
    Checkpointed: "saved for backward",
    CheckpointedReentrant: "switches gradients",
    Types: "type",
    Remembers: "sets the attribute `last`",
    Collects: "sets the attribute `seen`",
}


@pytest.mark.parametrize("kind", UNTRACEABLE)
@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_traced_runs_as_it_is(kind, inside):
    module = kind()
    plain = nn.Sequential(mlp(), nn.Linear(5, 6), module) if inside else module
    x = rows()

    def run():
        random.seed(4)
        np.random.seed(4)
        torch.manual_seed(4)
        module.calls = 0
        with torch.autocast("cpu", torch.bfloat16, enabled=kind is InFullPrecision):
            y = plain(x)
            y = y + plain(x)
        return y.detach(), random.random(), np.random.rand(), torch.rand(())

    expected, *numbers = run()
    accelerate(plain)
    found, *after = run()
    torch.testing.assert_close(found, expected)
    assert after == numbers  # no trace has drawn from the generators
    (reason,) = [row for row in explain(plain).kept if row.name == ("2" if inside else "")]
    assert UNTRACEABLE[kind] in reason.reason
    if inside:
        assert [row.members[0] for row in explain(plain).fused] == ["0.0", "0.3"]


class Flags(Net):
    """Traced; what it depends on may change."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6)])
        self.powers = [1]
        self.act = torch.tanh

    def forward(self, x, y=None, twice=False):
        x = self.act(self.hidden(x)) * self.scale
        for layer in self.layers:
            x = F.relu(layer(x))
        for power in self.powers:
            x = x**power
        if y is not None:
            x = x + y
        if self.training and torch.is_grad_enabled():
            x = x * 3
        return x * 2 if twice else x


def more(module):
    module.layers.append(nn.Linear(6, 6))


def shared(module):
    module.layers[0] = module.fc


@pytest.mark.parametrize(
    "change",
    [
        lambda module: setattr(module, "scale", 5.0),
        lambda module: setattr(module, "act", torch.sin),
        lambda module: module.powers.append(2),
        lambda module: setattr(module, "fc", nn.Sequential(nn.Linear(6, 6), nn.Tanh())),
        more,
        shared,
        lambda module: module.eval(),
        lambda module: module.double(),
        lambda module: setattr(module.fc, "bias", None),
    ],
)
def test_changes_of_the_module_are_seen(change):
    module = Flags()
    x = rows()
    accelerate(module)
    module(x)
    assert len(explain(module).fused) == 2
    change(module)
    x = x.to(module.fc.weight.dtype) if isinstance(module.fc, nn.Linear) else x
    torch.testing.assert_close(module(x), Flags.forward(module, x))


def test_kinds_of_calls():
    module: Any = accelerate(Flags())
    x, forward = rows(), module.forward.original
    for args, kwargs in (
        ((x,), {}), ((x, x), {}), ((x,), {"y": x}), ((x, None, True), {}), ((x,), {"twice": True}), ((), {"x": x}),
        ((x,), {"y": 1.0}), ((x, True), {}),
    ):  # fmt: skip
        torch.testing.assert_close(module(*args, **kwargs), forward(*args, **kwargs))
    with torch.no_grad():
        torch.testing.assert_close(module(x), forward(x))
    with pytest.raises(TypeError, match="argument"):
        module()


def test_a_hook_inside_is_called_and_not_fused_over():
    model: Any = accelerate(mlp())
    x = rows()
    model(x)
    seen = []
    handle = model[1].register_forward_hook(lambda module, args, y: seen.append(y))
    expected = model.forward.original(x)
    torch.testing.assert_close(model(x), expected)
    assert len(seen) == 2
    assert [row.members for row in explain(model).fused] == [("3", "4")]
    handle.remove()
    model(x)
    assert len(seen) == 2


def test_hooks_for_all_modules_are_called():
    model, calls = accelerate(mlp()), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, y: calls.append(type(module)))
    try:
        model(rows())
    finally:
        handle.remove()
    assert calls.count(nn.Linear) == 3


def test_shared_layers_and_results_that_are_read_twice():
    class Twice(Net):
        def forward(self, x):
            y = self.fc(x)
            return torch.relu(y) + y + self.hidden(self.hidden(x))

    module = Twice()
    x = rows()
    expected = module(x)
    torch.testing.assert_close(accelerate(module)(x), expected)
    assert len(explain(module).fused) == 2


def test_what_a_forward_returns_keeps_its_type():
    class Output(dict):
        pass

    class Returns(Net):
        def forward(self, x):
            return {"a": (self.hidden(x), None), "b": [x]}

    class Own(Net):
        def forward(self, x):
            return Output(a=self.hidden(x))

    x = rows()
    result = accelerate(Returns())(x)
    assert type(result["a"]) is tuple and result["a"][1] is None and result["b"][0] is x
    own = accelerate(Own())
    assert type(own(x)) is Output and "makes a Output" in str(explain(own))


def test_many_states_of_a_module_do_not_pile_up():
    module: Any = accelerate(Flags())
    x = rows()
    for scale in range(12):
        module.scale = float(scale)
        torch.testing.assert_close(module(x), Flags.forward(module, x))
    assert max(map(len, module.forward._programs.values())) <= 8
    for number in range(80):
        torch.testing.assert_close(module(x, float(number)), Flags.forward(module, x, float(number)))
    assert sum(map(len, module.forward._programs.values())) <= 64
    assert "were new 64 times" in str(explain(module))


def test_a_module_with_a_forward_of_its_own_is_left_alone():
    model: Any = mlp()
    model[3].forward = lambda x: x[:, :8] * 2
    x = rows()
    expected = model(x)
    torch.testing.assert_close(accelerate(model)(x), expected)
    assert "3: the instance has a forward of its own" in str(explain(model))
