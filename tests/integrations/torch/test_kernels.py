"""Accelerated modules on Triton's kernels, on a CPU under the interpreter; the oracle is the module as it was."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint

from fastk import config, dispatch, optim
from fastk.integrations.torch import accelerate, explain
from fastk.kernels import triton_runtime
from tests.integrations.torch import nets
from tests.integrations.torch.nets import NETS, mlp

REFUSAL = triton_runtime.why_not("cuda" if torch.cuda.is_available() else "cpu")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [
    pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL)),
    *([pytest.mark.gpu] if torch.cuda.is_available() else []),
]
LABELS = torch.tensor([0, 1, 2, 3, 4, 1], device=DEVICE)
OPS = {
    "mlp": {"dense"},
    "lenet": {"conv2d", "max_pool2d", "dense"},
    "resnet": {"conv2d", "batch_norm", "max_pool2d"},
    "lstm": {"lstm", "layer_norm", "dense"},
    "gru": {"gru", "layer_norm", "dense"},
}


def images(*sizes):
    return nets.images(*sizes).to(DEVICE)


def rows():
    return nets.rows().to(DEVICE)


def sequences():
    return nets.sequences().to(DEVICE)


@pytest.fixture(autouse=True)
def kernels():
    torch.set_default_device(DEVICE)
    before = config.kernels()
    config.set_kernels("triton")
    with dispatch.recorded_choices() as choices:
        yield choices
    config.set_kernels(before)
    torch.set_default_device(None)


@pytest.mark.parametrize("name", NETS)
def test_training_is_that_of_torch(name, kernels):
    torch.manual_seed(3)
    make, inputs = NETS[name]
    plain, x = make(), inputs().to(DEVICE)
    fast = accelerate(copy.deepcopy(plain))
    loss_of = {plain: nn.CrossEntropyLoss(), fast: accelerate(nn.CrossEntropyLoss())}
    losses = []
    for model, optimizer in (
        (plain, torch.optim.SGD(plain.parameters(), lr=0.1)),
        (fast, optim.SGD(fast.parameters(), lr=0.1)),
    ):
        losses.append([])
        for _ in range(2):
            optimizer.zero_grad()
            loss = loss_of[model](model(x), LABELS)
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    # Each step adds the rounding of float32 sums of up to a few hundred terms.
    torch.testing.assert_close(losses[1], losses[0], rtol=3e-5, atol=0)
    for (key, a), b in zip(plain.state_dict().items(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=2e-5, msg=key)
    assert {op: choice.implementation for op, choice in kernels.items()} == dict.fromkeys(
        OPS[name] | {"softmax_cross_entropy", "sgd_"}, "triton"
    )


def test_evaluation_folds_normalizations(kernels):
    torch.manual_seed(3)
    plain = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3), nn.BatchNorm2d(4))
    x = images(3, 32, 5)
    plain(x)
    fast = accelerate(copy.deepcopy(plain)).eval()
    plain.eval()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-5, atol=1e-5)
    assert kernels["conv2d"].implementation == "triton"


def test_depthwise_and_grouped_convolutions(kernels):
    torch.manual_seed(3)
    plain = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.ReLU6(),
        nn.Conv2d(8, 6, (4, 3), groups=2, padding="same"),
        nn.Sigmoid(),
    )
    fast, x = accelerate(copy.deepcopy(plain)), images(4, 9, 2)
    expected, y = plain(x), fast(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    assert y.stride() == expected.stride() and {"depthwise_conv2d", "conv2d"} <= set(kernels)
    both = ((y, fast), (expected, plain))
    grads = [torch.autograd.grad(result.sum(), list(model.parameters())) for result, model in both]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_repeats_with_torchs_seed_and_drops_its_share():
    fast: Any = accelerate(nn.Sequential(nn.Linear(6, 512), nn.ReLU(), nn.Dropout(0.25)))
    nn.init.ones_(fast[0].bias)
    nn.init.zeros_(fast[0].weight)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results += [fast(rows()), fast(rows())]
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[3])
    assert not torch.equal(results[0], results[1]) and not torch.equal(results[0], results[4])
    share = torch.stack(results[:2]).eq(0).double().mean().item()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / (2 * 6 * 512)) ** 0.5  # five standard deviations
    assert torch.equal(results[0].unique(), torch.tensor([0.0, 1 / 0.75]))
    checkpointed = []
    for use in (False, True):  # a mask is made again from torch's generator
        torch.manual_seed(5)
        x = rows().requires_grad_()
        y = checkpoint(fast, x, use_reentrant=False) if use else fast(x)
        checkpointed.append(torch.autograd.grad(y.square().sum(), list(fast.parameters())))
    for a, b in zip(*checkpointed, strict=True):
        assert torch.equal(a, b)


RECURRENT = [
    (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    (nn.LSTM, {"batch_first": True, "bias": False}),
    (nn.GRU, {"num_layers": 2, "batch_first": True, "bidirectional": True}),
    (nn.GRU, {"bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_layers(kind, options, with_state):
    torch.manual_seed(3)
    plain = kind(6, 5, **options)
    fast = accelerate(copy.deepcopy(plain))
    x = torch.randn(4, 3, 6, requires_grad=True)
    states = [torch.randn(plain.num_layers * (1 + plain.bidirectional), 3 if not plain.batch_first else 4, 5)] * 2
    hx = None if not with_state else tuple(states) if kind is nn.LSTM else states[0]
    flat = []
    for model in (plain, fast):
        output, last = model(x, hx)
        results = [output, *(last if isinstance(last, tuple) else (last,))]
        wanted = [x, *model.parameters()]
        grads = torch.autograd.grad(torch.cat([(r * r.cos()).flatten() for r in results]).sum(), wanted)
        flat.append([*results, *grads])
    for a, b in zip(*flat, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "dense"),
    [
        ({}, False), ({"reduction": "sum", "label_smoothing": 0.2}, False), ({"reduction": "none"}, False),
        ({"ignore_index": 1}, False), ({"ignore_index": 1, "reduction": "none", "label_smoothing": 0.1}, False),
        ({"weight": torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0])}, False), ({"label_smoothing": 0.3}, True),
        ({"weight": torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0]), "ignore_index": 0, "reduction": "sum"}, False),
        ({"weight": torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0])}, True), ({"reduction": "none"}, True),
    ],
)  # fmt: skip
def test_cross_entropy(options, dense, kernels):
    generator = torch.Generator(DEVICE).manual_seed(2)
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    target = torch.rand(6, 5, generator=generator).softmax(1) if dense else LABELS
    options = {key: x.to(DEVICE) if key == "weight" else x for key, x in options.items()}
    plain, fast = nn.CrossEntropyLoss(**options), accelerate(nn.CrossEntropyLoss(**options))
    found = []
    for loss_of in (plain, fast):
        loss = loss_of(logits, target)
        found.append([loss, *torch.autograd.grad((loss * loss.detach()).sum(), logits)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)
    assert kernels["softmax_cross_entropy"].implementation == "triton"


def test_cross_entropy_leaves_to_torch_what_would_cost_copies():
    fast = accelerate(nn.CrossEntropyLoss())
    logits, target = torch.randn(2, 5, 3, 3), torch.ones(2, 3, 3, dtype=torch.int64)
    torch.testing.assert_close(fast(logits, target), F.cross_entropy(logits, target))
    assert "classes that do not lie last" in str(explain(fast))
    last = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(last, target), F.cross_entropy(logits, target))
    with pytest.raises((ValueError, RuntimeError)):
        fast(torch.randn(2, 5), torch.ones(3, dtype=torch.int64))


def test_calls_that_are_left_to_torch():
    lstm: Any = accelerate(nn.LSTM(6, 5, batch_first=True))
    packed = nn.utils.rnn.pack_padded_sequence(sequences(), [9, 8, 7, 3, 2, 1], batch_first=True)
    torch.testing.assert_close(lstm(packed)[0].data, lstm.forward.original(packed)[0].data)
    assert lstm(sequences()[0])[0].shape == (9, 5)
    text = str(explain(lstm))
    assert "an input of type PackedSequence" in text and "without a batch" in text
    with pytest.raises(RuntimeError, match="Expected hidden"):
        lstm(sequences(), (torch.zeros(1, 6, 4), torch.zeros(1, 6, 4)))


@pytest.mark.parametrize(
    ("name", "options"),
    [("Adam", {"weight_decay": 0.1, "amsgrad": True}), ("AdamW", {"max_norm": 0.5}), ("RMSprop", {"max_norm": 0.5})],
)
def test_optimizers(name, options, kernels):
    torch.manual_seed(0)
    plain, limit = mlp(), options.get("max_norm")
    fast = copy.deepcopy(plain)
    own = {key: value for key, value in options.items() if key != "max_norm"}
    optimizers = (
        getattr(optim, name)(fast.parameters(), **options),
        getattr(torch.optim, name)(plain.parameters(), **own),
    )
    for step in range(3):
        for model, optimizer in zip((fast, plain), optimizers, strict=True):
            model(rows() * (step + 1)).square().sum().backward()
            if model is plain and limit:
                torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)
    assert kernels["adam_"].implementation == "triton"
