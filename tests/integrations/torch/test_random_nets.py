"""Networks put together at random: values, gradients and layouts are those of the module as it was."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from fastk.integrations.torch import accelerate, explain

NETS = 40
LAYERS = {
    "conv": lambda c: nn.Conv2d(c, 4, 3, padding=1),
    "one by one": lambda c: nn.Conv2d(c, 1, 1, bias=False),
    "depthwise": lambda c: nn.Conv2d(c, 2 * c, 3, padding="same", groups=c),
    "norm": nn.BatchNorm2d,
    "relu": lambda c: nn.ReLU(),
    "leaky": lambda c: nn.LeakyReLU(),
    "pool": lambda c: nn.MaxPool2d(2),
}
FUNCTIONS = {
    "tanh": torch.tanh,
    "in place": lambda x: (x + 1).relu_(),
    "f.pool": lambda x: F.max_pool2d(x, 2),
    "turned": lambda x: x.permute(0, 1, 3, 2),
    "centred": lambda x: x - x.mean((2, 3), keepdim=True),
}


class RandomNet(nn.Module):
    """A few calls, each of a result before it; three results are returned, and the last one as a matrix too."""

    def __init__(self, rng):
        super().__init__()
        self.layers = nn.ModuleList()
        self.channels = rng.choice([1, 2, 3])
        shapes, self.calls = [(self.channels, 8)], []
        for _ in range(rng.randint(3, 9)):
            source = rng.randrange(len(shapes))
            channels, size = shapes[source]
            kind = rng.choice([*LAYERS, *FUNCTIONS, "conv", "norm", "add", "add", "cat"])
            if kind in ("pool", "f.pool"):
                if size == 2:
                    continue
                size //= 2
            other = 0
            if kind in LAYERS:
                other = len(self.layers)
                self.layers.append(LAYERS[kind](channels))
                channels = getattr(self.layers[-1], "out_channels", channels)
            elif kind in ("add", "cat"):
                fits = [shape[1] == size and (kind == "cat" or shape[0] == channels) for shape in shapes]
                other = rng.choice([i for i, each in enumerate(fits) if each])
                channels += shapes[other][0] if kind == "cat" else 0
            self.calls.append((kind, source, other))
            shapes.append((channels, size))
        self.results = [rng.randrange(len(shapes)), rng.randrange(len(shapes)), len(shapes) - 1]

    def forward(self, x):
        values = [x]
        for kind, source, other in self.calls:
            x = values[source]
            if kind in LAYERS:
                values.append(self.layers[other](x))
            elif kind in FUNCTIONS:
                values.append(FUNCTIONS[kind](x))
            else:
                values.append(x + values[other] if kind == "add" else torch.cat([x, values[other]], 1))
        return *(values[i] for i in self.results), values[-1].flatten(1)


@pytest.mark.parametrize("seed", range(NETS))
def test_a_random_net(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    plain = RandomNet(rng).double()
    x = torch.randn(2, plain.channels, 8, 8, dtype=torch.float64)
    if rng.random() < 0.3:
        x = x.to(memory_format=torch.channels_last)
    if rng.random() < 0.3:
        plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = accelerate(copy.deepcopy(plain))
    for training, grad in ((True, True), (False, True), (False, False)):
        found = []
        for model in (plain.train(training), fast.train(training)):
            with torch.set_grad_enabled(grad):
                results = model(x)
                total = torch.cat([y.cos().flatten() for y in results]).sum()
            weights = list(model.parameters()) if total.requires_grad else []
            grads = torch.autograd.grad(total, weights, allow_unused=True) if weights else ()
            found.append((results, grads))
        for expected, y in zip(found[0][0], found[1][0], strict=True):
            torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-10)
            assert y.is_contiguous() or not expected.is_contiguous()  # `view` works where it did
        for expected, y in zip(found[0][1], found[1][1], strict=True):
            assert (y is None) == (expected is None)
            if y is not None:
                torch.testing.assert_close(y, expected, rtol=1e-8, atol=1e-9)


def test_the_nets_have_what_is_fused():
    fused = [row.op for seed in range(NETS) for row in explain(accelerate(RandomNet(random.Random(seed)))).fused]
    assert {"conv2d", "max_pool2d", "conv2d + batch_norm", "conv2d(relu)", "batch_norm"} <= set(fused)
