"""Every op with kernels under torch's tools: opcheck, torch.compile, autocast, second derivatives, CUDA graphs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from fastk import autograd, dispatch
from fastk.errors import ImplementationUnavailable

SEED = (3, 5)
LABELS = [1, 0, 2]


@dataclass(frozen=True)
class Case:
    """A differentiable call of an op: the shapes of its inputs, and the call."""

    shapes: tuple[tuple[int, ...], ...]
    call: Callable[..., Any]


def _gru(x, w, r, b, implementation):
    # By names ATen's GRU has one derivative, by functions any number.
    names = (torch.tanh, torch.sigmoid) if implementation == "aten" else ("tanh", "sigmoid")
    return autograd.gru(x, w, r, b, None, None, *names, implementation=implementation)[0]


CASES = {
    "activation": Case(((3, 5),), lambda x, **i: autograd.activation(x, "gelu", **i)),
    "dense": Case(((3, 8), (8, 16), (16,)), lambda x, w, b, **i: autograd.dense(x, w, b, "gelu", 0.5, SEED, **i)),
    "dense transposed": Case(
        ((3, 8), (16, 8), (16,)), lambda x, w, b, **i: autograd.dense(x, w.t(), b, "gelu", 0.5, SEED, **i)
    ),
    "conv2d": Case(
        ((2, 5, 5, 3), (3, 3, 3, 4), (4,)),
        lambda x, w, b, **i: autograd.conv2d(x, w, b, 2, "same", activation="tanh", **i),
    ),
    "depthwise_conv2d": Case(((2, 5, 5, 3), (3, 3, 3, 2)), lambda x, w, **i: autograd.depthwise_conv2d(x, w, **i)),
    "max_pool2d": Case(((2, 5, 5, 3),), lambda x, **i: autograd.max_pool2d(x, 3, 2, "same", **i)),
    "average_pool2d": Case(((2, 5, 5, 3),), lambda x, **i: autograd.average_pool2d(x, 2, **i)),
    "dropout": Case(((3, 5),), lambda x, **i: autograd.dropout(x, 0.5, SEED, **i)),
    "batch_norm": Case(
        ((6, 4), (4,), (4,)),
        lambda x, g, b, **i: autograd.batch_norm(x, g, b, None, None, training=True, **i)[0],
    ),
    "layer_norm": Case(((3, 8), (8,), (8,)), lambda x, g, b, **i: autograd.layer_norm(x, g, b, **i)),
    "softmax_cross_entropy": Case(
        ((3, 4),),
        lambda x, **i: autograd.softmax_cross_entropy(x, torch.tensor(LABELS, device=x.device), sparse=True, **i),
    ),
    "lstm": Case(
        ((2, 3, 4), (4, 16), (4, 16), (16,)),
        lambda x, w, r, b, **i: autograd.lstm(x, w, r, b, **i)[0],
    ),
    "gru": Case(
        ((2, 3, 4), (4, 12), (4, 12), (2, 12)),
        _gru,
    ),
}


class Recorder(TorchDispatchMode):
    """Keeps the calls of fastk's ops, below autograd."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "fastk":
            self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=["triton", "cupy"], autouse=True)
def kernels(request, device):
    """An implementation with kernels of its own."""
    refusal = dispatch._why_not_on(request.param, device.type)
    if refusal is not None:
        pytest.skip(refusal)
    return request.param


@pytest.fixture(params=CASES)
def op(request, kernels, device):
    if dispatch.availability(request.param.split()[0], device.type)[kernels] is not None:
        pytest.skip(f"no {kernels} kernels for {request.param}")
    return request.param


@pytest.fixture
def inputs(op, normal):
    return [normal(*shape, dtype=torch.float32, requires_grad=True) for shape in CASES[op].shapes]


def test_opcheck(op, inputs, kernels):
    y = CASES[op].call(*inputs, implementation=kernels)
    with Recorder() as recorder:
        y = CASES[op].call(*inputs, implementation=kernels)
        y.sum().backward()
    assert {func._opname for func, _, _ in recorder.calls} >= {f"{op.split()[0]}_forward"}
    assert any("backward" in func._opname or "gradient" in func._opname for func, _, _ in recorder.calls)
    for func, arguments, keywords in recorder.calls:
        if not func._opname.endswith("_forward"):  # second derivatives do not go through it
            arguments = tree_map_only(Tensor, Tensor.detach, arguments)
        torch.library.opcheck(func, arguments, keywords)


def test_compiles_without_a_graph_break(op, inputs, kernels):
    def network(*inputs):
        return CASES[op].call(*inputs, implementation=kernels).sin()

    expected = network(*inputs)
    expected_grads = torch.autograd.grad(expected.sum(), inputs)
    actual = torch.compile(network, fullgraph=True, backend="aot_eager")(*inputs)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual.sum(), inputs), expected_grads)


def test_autocast(op, inputs, kernels, device):
    with torch.autocast(device.type, torch.bfloat16):
        y = CASES[op].call(*inputs, implementation=kernels)
        rival = CASES[op].call(*inputs, implementation="aten")
    assert y.dtype == rival.dtype
    gradients, expected = (torch.autograd.grad(t.float().sum(), inputs) for t in (y, rival))
    for gradient, other, tensor in zip(gradients, expected, inputs, strict=True):
        assert gradient.dtype == tensor.dtype
        # Sums of a few rounded products: a handful of units in the last place of bfloat16.
        torch.testing.assert_close(gradient, other, rtol=0, atol=0.05 * max(1.0, float(other.abs().max())))


def test_second_derivative(op, inputs, kernels):
    """The gradient's gradient, which goes through ATen, against ATen alone."""

    def second(implementation):
        y = CASES[op].call(*inputs, implementation=implementation)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), inputs, allow_unused=True)

    torch.testing.assert_close(second(kernels), second("aten"), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_graph_capture(op, inputs, kernels):
    """Forward and backward replayed on new numbers give what calls give."""

    def run():
        y = CASES[op].call(*inputs, implementation=kernels)
        return y, *torch.autograd.grad(y.sum(), inputs)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for tensor in inputs:
            tensor.copy_(torch.randn_like(tensor))
    graph.replay()
    for actual, expected in zip(captured, run(), strict=True):
        torch.testing.assert_close(actual, expected)


def test_float64_is_refused_on_a_gpu_or_right(op, normal, kernels):
    inputs = [normal(*shape) for shape in CASES[op].shapes]
    try:
        y = CASES[op].call(*inputs, implementation=kernels)
    except ImplementationUnavailable as error:
        assert "float64" in str(error)
    else:
        torch.testing.assert_close(y, CASES[op].call(*inputs, implementation="aten"))
