"""An accelerated module computes what it computed before, and stays a module of torch: it is its own oracle."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from fastk.integrations.torch import accelerate, explain, is_accelerated, restore
from fastk.layers import Dense
from tests.integrations.torch.nets import NETS, LeNet, ResNet, images, mlp, rows

LABELS = torch.tensor([0, 1, 2, 3, 4, 1])


def pair(name, dtype=torch.float64):
    """A network, and its accelerated copy."""
    torch.manual_seed(3)
    make, inputs = NETS[name]
    plain = make().to(dtype)
    return plain, accelerate(copy.deepcopy(plain)), inputs().to(dtype)


@pytest.mark.parametrize("name", NETS)
def test_training_is_the_same_step_by_step(name):
    plain, fast, x = pair(name)
    losses = []
    for model in (plain, fast):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        losses.append([])
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), LABELS)
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    # Sums of up to some hundred float64 terms, in another order, through four steps.
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-11, atol=0)
    assert losses[0][3] < losses[0][0]
    for (key, a), b in zip(plain.state_dict().items(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("grad", [False, True])
def test_evaluation_is_the_same(name, grad):
    plain, fast, x = pair(name)
    for _ in range(2):
        plain(x)  # running statistics
    fast.load_state_dict(plain.state_dict())
    plain.eval()
    fast.eval()
    with torch.set_grad_enabled(grad):
        expected, y = plain(x), fast(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-13)
    assert y.stride() == expected.stride() and y.requires_grad == grad


def test_dropout_has_the_masks_of_torch_on_the_cpu():
    for plain, x in ((LeNet(0.4), images(1, 16)), (mlp(0.4), rows()), (nn.GRU(6, 7, 2, dropout=0.5), images(9, 6)[0])):
        fast = accelerate(copy.deepcopy(plain))
        results = []
        for model in (plain, fast):
            torch.manual_seed(8)
            y = model(x)
            results.append(y[0] if isinstance(y, tuple) else y)
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("weights_last", [False, True])
def test_images_lie_in_memory_as_torch_leaves_them(channels_last, weights_last):
    layout = {True: torch.channels_last, False: torch.contiguous_format}
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, bias=False), nn.Mish()]
    plain: Any = nn.Sequential(*layers)
    plain.to(memory_format=layout[weights_last])
    fast = accelerate(copy.deepcopy(plain))
    x = images(3, 14).to(memory_format=layout[channels_last])
    expected, y = plain(x), fast(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    assert y.stride() == expected.stride()
    assert y.view(6, -1).shape == (6, 80) if y.is_contiguous() else channels_last or weights_last


def test_a_pool_with_padding_and_the_maximum_at_the_border():
    x = images(2, 9)
    for options in ((3, 2, 1), (2, 2, 1), (3, 1, 1), ((3, 2), (2, 1), (1, 0))):
        plain = nn.Sequential(nn.Conv2d(2, 3, 1), nn.MaxPool2d(*options))
        torch.testing.assert_close(accelerate(copy.deepcopy(plain))(x), plain(x), rtol=0, atol=1e-6)


def test_batch_norm_is_folded_in_the_kernel():
    plain: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
    )
    x = images(3, 40, 8)
    plain(x)
    fast = accelerate(copy.deepcopy(plain))
    plain.eval()
    fast.eval()
    with torch.no_grad():
        expected = plain(x)
        with torch.profiler.profile() as profile:
            y = fast(x)
    assert not any("norm" in event.key for event in profile.key_averages())
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():  # a change past autograd's counter of versions is seen
        fast[0].weight.data.mul_(2.0)
        plain[0].weight.data.mul_(2.0)
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-5, atol=1e-5)


def test_restore_leaves_the_module_as_it_was():
    plain = ResNet()
    before = [dict(m.__dict__) for m in plain.modules()]
    assert accelerate(plain) is plain and is_accelerated(plain)
    plain(images())
    assert restore(plain) is plain and not is_accelerated(plain)
    assert [m.__dict__.keys() for m in plain.modules()] == [b.keys() for b in before]
    with pytest.raises(ValueError, match="call accelerate"):
        explain(plain)


def test_names_parameters_and_state_dicts_are_the_modules_own():
    plain, fast, x = pair("resnet")
    named = dict(fast.named_parameters())
    assert list(named) == [name for name, _ in plain.named_parameters()]
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert type(fast) is ResNet
    before = {id(p) for p in fast.parameters()}
    fast(x).sum().backward()
    assert {id(p) for p in restore(fast).parameters()} == before
    assert all(p.grad is not None for p in named.values())


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_accelerated_and_have_their_own_weights(twin):
    _, fast, x = pair("lenet")
    expected = fast(x)
    other = twin(fast)
    assert is_accelerated(other) and other.forward.module is other
    with torch.no_grad():
        fast.fc2.bias.add_(1.0)
    torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(fast(x), expected + 1.0)


def test_another_dtype_and_new_weights_are_seen():
    plain, fast, x = pair("resnet")
    fast(x)
    fast.float()
    plain.float()
    torch.testing.assert_close(fast(x.float()), plain(x.float()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        torch.func.functional_call(fast, {"head.bias": torch.ones(5)}, (x.float(),)),
        torch.func.functional_call(plain, {"head.bias": torch.ones(5)}, (x.float(),)),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_second_derivatives():
    _, fast, x = pair("mlp")
    x.requires_grad_()
    assert torch.autograd.gradgradcheck(fast, x)


def test_under_autocast():
    plain, fast, x = pair("lenet", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, y = plain(x), fast(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.02)  # a few roundings to 8 bits


def test_checkpointing_and_hooks_and_vmap():
    plain, fast, x = pair("mlp")
    y = checkpoint(fast, x.requires_grad_(), use_reentrant=False)
    y.sum().backward()
    calls = []
    handle = fast.register_forward_hook(lambda module, args, result: calls.append(result))
    torch.testing.assert_close(fast(x), plain(x))
    assert len(calls) == 1
    handle.remove()
    torch.testing.assert_close(torch.vmap(fast)(x.detach()), plain(x))


def test_within_torch_compile_the_module_is_as_it_was():
    _, fast, x = pair("mlp", torch.float32)
    expected = fast(x)
    compiled = torch.compile(fast, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


def test_an_exported_program_holds_torchs_own_calls():
    _, fast, x = pair("mlp", torch.float32)
    program = torch.export.export(fast, (x,))
    torch.testing.assert_close(program.module()(x), fast(x))


def test_in_data_parallel(tmp_path):
    plain, fast, x = pair("mlp")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(fast)
        F.cross_entropy(wrapped(x), LABELS).backward()
    finally:
        dist.destroy_process_group()
    F.cross_entropy(plain(x), LABELS).backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad)


def test_what_is_no_module_of_torch_is_refused():
    wrong: Any
    for wrong in (torch.relu, Dense(3)):
        with pytest.raises(TypeError, match=r"takes a torch\.nn\.Module"):
            accelerate(wrong)


def test_explain_lists_what_is_fused_and_what_is_not():
    report = explain(accelerate(ResNet()))
    rows_ = [(row.members, row.op) for row in report.fused]
    assert rows_[:3] == [
        (("stem.0", "stem.1", "stem.2"), "conv2d + batch_norm(relu)"),
        (("stem.3",), "max_pool2d"),
        (("blocks.0.conv1", "blocks.0.bn1", "relu"), "conv2d + batch_norm(relu)"),
    ]
    assert [str(row) for row in report.kept] == ["head: no activation or dropout follows it"]
    assert "stem.0 + stem.1 + stem.2 → conv2d + batch_norm(relu)" in str(report)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Linear(3, 3), nn.LeakyReLU()], "0: leaky_relu with negative_slope=0.01, and fastk has it with"),
        ([nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.ReLU()], "0: it pads by 'circular'"),
        ([nn.Conv2d(3, 3, 1), nn.MaxPool2d(2, ceil_mode=True)], "1: ceil_mode=True"),
        ([nn.Conv2d(3, 3, 1), nn.MaxPool2d(2, dilation=2)], "1: its windows are dilated"),
        ([nn.Conv2d(3, 3, 3), nn.Flatten()], "0: alone: no activation follows it"),
        ([nn.LSTM(3, 4, proj_size=2)], "0: proj_size=2"),
        ([parametrizations.weight_norm(nn.Linear(3, 3)), nn.ReLU()], "0: it is a ParametrizedLinear"),
        ([prune.identity(nn.Linear(3, 3), "weight"), nn.ReLU()], "0: a hook is registered on it"),
        ([nn.Linear(3, 4), nn.Conv1d(4, 4, 1)], "1: fastk has no op for it (Conv1d)"),
        ([nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1)], "0: class weights together with label smoothing"),
    ],
)
def test_reasons_for_what_is_kept(layers, reason):
    report = explain(accelerate(nn.Sequential(*layers)))
    assert any(str(row).startswith(reason) for row in report.kept), report
